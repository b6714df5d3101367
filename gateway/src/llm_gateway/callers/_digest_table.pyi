# SPDX-License-Identifier: Apache-2.0
from llm_gateway.callers.digest_table import PureDigestTable

class DigestTable(PureDigestTable): ...
