# SPDX-License-Identifier: Apache-2.0
"""A Neuron loader, admission and operations for Text Generation WebUI (TextGen), added as it is imported.

No file of upstream is changed or copied. `python -m tgw_neuron FLAGS` runs upstream's server.py with the same flags;
`python -m tgw_neuron --check` says whether the upstream at TGW_ROOT has all that is hooked here.
"""

__version__ = "1.0.0"
