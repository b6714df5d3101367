# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle
short_description: Everything that is downloaded for a platform, in one folder
description:
  - Obtains the archive of every chart that present components use, by the digests of the lock file, and writes it to O(out), with checksums.
  - The folder's C(charts) is what C(platform_chart_mirror) takes. C(images.txt) names every image, also those that charts name.
  - With O(images) the images come too, by their digests, as an OCI image layout in C(images). They are large.
  - With O(verify) a folder is checked, and nothing is downloaded.
extends_documentation_fragment:
  - llm.on_eks.charts
options:
  components:
    description: Component descriptors.
    type: list
    elements: dict
    default: []
  out:
    description: The folder to write. Charts in it that nothing uses any more are removed.
    type: path
    default: ""
  verify:
    description: A folder to check against its checksums.
    type: path
    default: ""
  images:
    description: Whether O(out) gets the images themselves, by the digests of the lock file; images that it does not name, as their tags stand now.
    type: bool
    default: false
  push:
    description:
      - With O(verify), a registry (C(HOST) or C(HOST/PREFIX)) that gets the folder's images. Each keeps its path and tag.
      - The credentials are those that container tools on the controller have.
      - V(ecr) or V(ecr/PREFIX) is the account's own registry. It is logged in to with the credentials of AWS, and repositories that are missing are made,
        with tags that never move and a scan of what arrives.
    type: str
    default: ""
  account:
    description: With O(push=ecr), whose mark the repositories carry that are made.
    type: str
    default: account
  keep_images:
    description: With O(push=ecr), how many images each of these keeps; 0 for all.
    type: int
    default: 0
  region:
    description: Of ECR.
    type: str
    default: ""
  profile:
    description: A profile of AWS; empty for the usual chain of credentials.
    type: str
    default: ""
  credentials_file:
    description: The only file that credentials are taken from; empty for the usual chain.
    type: str
    default: ""
  endpoint_url:
    description: Of an emulator of AWS; empty for AWS.
    type: str
    default: ""
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: The task is skipped.
    support: none
  diff_mode:
    description: Nothing is shown.
    support: none
"""

EXAMPLES = r"""
- name: Bundle
  llm.on_eks.bundle:
    components: "{{ platform_components }}"
    out: /srv/llm-bundle
"""

RETURN = r"""
charts:
  description: Names of the charts' files.
  returned: with O(out)
  type: list
  elements: str
images:
  description: References of all images.
  returned: with O(out)
  type: list
  elements: str
files:
  description: How many files were checked.
  returned: with O(verify)
  type: int
pushed:
  description: How many images the registry lacked.
  returned: with O(push)
  type: int
"""
