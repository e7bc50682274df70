"""What a statement says, in each language."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import ValidationError
from .._results import Kind, Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's."""

    #: For the page's ``lang``.
    tag: str
    title: str
    issuer: str
    customer: str
    account: str
    period: str
    #: From, and the end that is not part of it.
    interval: str
    drawn_up: str
    interim: str
    balance: str
    available: str
    held: str
    total: str
    opening: str
    closing: str
    effective: str
    effective_note: str
    changes: str
    granted: str
    taken_back: str
    spent: str
    refunded: str
    expired: str
    net: str
    by_kind: str
    kind: str
    count: str
    by_feature: str
    feature: str
    captures: str
    no_feature: str
    entries: str
    number: str
    time: str
    available_change: str
    held_change: str
    subject: str
    reference: str
    reason: str
    counter_account: str
    consumption: str
    lot: str
    no_entries: str
    page: str
    kinds: dict[Kind, str]


_ZH = Words(
    tag="zh-Hans",
    title="积分对账单",
    issuer="出具方",
    customer="客户",
    account="账户",
    period="期间",
    interval="{since} 起，至 {until} 前（{zone}）",
    drawn_up="出具时间",
    interim="期间尚未结束，此后可能还有变动。",
    balance="余额",
    available="可用",
    held="预扣中",
    total="合计",
    opening="期初",
    closing="期末",
    effective="期末（计入到期）",
    effective_note="“计入到期”一行反映已经到期、但尚未记账的积分与预扣；它们将在之后的对账单中列出。",
    changes="本期变动",
    granted="获得",
    taken_back="追回",
    spent="消费",
    refunded="退还",
    expired="过期",
    net="净变动",
    by_kind="按类型汇总",
    kind="类型",
    count="笔数",
    by_feature="按功能汇总",
    feature="功能",
    captures="扣费次数",
    no_feature="（未注明）",
    entries="明细",
    number="序号",
    time="时间",
    available_change="可用变动",
    held_change="预扣变动",
    subject="说明",
    reference="参考号",
    reason="原因",
    counter_account="对方科目",
    consumption="消费记录",
    lot="积分批次",
    no_entries="本期没有变动。",
    page="第 {number} 页",
    kinds={
        "grant": "发放",
        "gift": "赠送",
        "consume": "预扣",
        "confirm": "扣费",
        "refund": "释放预扣",
        "reverse": "退还",
        "extend": "预扣延期",
        "expire_hold": "预扣到期释放",
        "expire_lot": "积分过期",
        "adjust": "调整",
        "credit_limit": "设置信用额度",
        "clawback": "追回",
        "order": "订单",
    },
)

_EN = Words(
    tag="en",
    title="Credit statement",
    issuer="Issued by",
    customer="Customer",
    account="Account",
    period="Period",
    interval="from {since} until before {until} ({zone})",
    drawn_up="Drawn up",
    interim="The period is not over: there may be more to come.",
    balance="Balance",
    available="Available",
    held="Held",
    total="Total",
    opening="Opening",
    closing="Closing",
    effective="Closing, deadlines counted",
    effective_note=(
        "“Deadlines counted” takes in the credits and holds that have expired and are not booked yet; a later "
        "statement will list them."
    ),
    changes="Changes",
    granted="Granted",
    taken_back="Taken back",
    spent="Spent",
    refunded="Refunded",
    expired="Expired",
    net="Net change",
    by_kind="By kind",
    kind="Entry",
    count="Count",
    by_feature="By feature",
    feature="Feature",
    captures="Charges",
    no_feature="(none)",
    entries="Entries",
    number="No.",
    time="Time",
    available_change="Available +/-",
    held_change="Held +/-",
    subject="Details",
    reference="Reference",
    reason="Reason",
    counter_account="Counter-account",
    consumption="Consumption",
    lot="Lot",
    no_entries="There are no entries.",
    page="Page {number}",
    kinds={
        "grant": "Grant",
        "gift": "Gift",
        "consume": "Hold",
        "confirm": "Charge",
        "refund": "Hold released",
        "reverse": "Charge refunded",
        "extend": "Hold extended",
        "expire_hold": "Hold expired",
        "expire_lot": "Credits expired",
        "adjust": "Adjustment",
        "credit_limit": "Credit limit set",
        "clawback": "Taken back",
        "order": "Order",
    },
)

_LANGUAGES: dict[Language, Words] = {"zh": _ZH, "en": _EN}


def words(language: Language) -> Words:
    """A language's words.

    Raises:
        ValidationError: There is none.
    """
    found = _LANGUAGES.get(language)
    if found is None:
        problem, limit, value = "is not a language of statements", " or ".join(_LANGUAGES), repr(language)[:80]
        raise ValidationError(
            f"language: {problem} (limit {limit}, got {value})",
            field="language",
            problem=problem,
            limit=limit,
            value=value,
        )
    return found


__all__ = ["Words", "words"]
