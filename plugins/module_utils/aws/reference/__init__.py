# SPDX-License-Identifier: Apache-2.0
"""What AWS publishes and changes: data, each with the day it is as of and its source. One file for each subject."""
