"""Stand-ins for WeChat Pay and Alipay on loopback, with keys that live as long as the process that makes them.

They believe a request only where the merchant has signed it as the channel's documentation says, sign what they
answer, remember trades and refunds, and tell of them: once, often, late, or not at all. Nothing of the library's own
code is in them; `tests/python/test_channels.py` compares them with other people's clients.
"""

from .alipay import AlipayStandIn
from .channel import StandIn
from .wechat import WeChatStandIn

#: By the names of the library's channels.
STAND_INS: dict[str, type[StandIn]] = {"wechat": WeChatStandIn, "alipay": AlipayStandIn}

__all__ = ["STAND_INS", "AlipayStandIn", "StandIn", "WeChatStandIn"]
