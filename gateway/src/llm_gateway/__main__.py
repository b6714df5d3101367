# SPDX-License-Identifier: Apache-2.0
"""`python -m llm_gateway`."""

import sys

from llm_gateway.cli import main

sys.exit(main())
