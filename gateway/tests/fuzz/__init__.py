# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing (atheris) of whatever reads bytes from outside; `run.py` is the program, `targets.py` the table."""
