"""Alipay's gateway."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives.hashes import SHA1

from .channel import BEIJING, Answer, Disbelief, Notice, StandIn, Trade, Unpayable, beijing, fen, yuan
from .keys import has_signed, private_pem, public_pem, sign


class AlipayStandIn(StandIn):
    """Alipay's gateway, with public keys. It knows a trade from the moment that its payer has come for it."""

    name = "alipay"
    SCHEDULE = (240, 600, 600, 3600, 7200, 21600, 54000)

    APP = "2021000000000000"
    SELLER = "2088000000000000"

    def __init__(self) -> None:
        super().__init__()
        self._codes: dict[str, dict[str, Any]] = {}

    def arguments(self) -> dict[str, Any]:
        return {
            "app_id": self.APP,
            "app_private_key": private_pem("alipay app"),
            "alipay_public_key": public_pem("alipay"),
            "seller_id": self.SELLER,
            "notify_url": self.notify_url,
            "gateway": f"{self.url}/gateway.do",
        }

    # What it is asked.

    @staticmethod
    def content(parameters: Iterable[tuple[str, str]], *left_out: str) -> bytes:
        """What is signed."""
        kept = sorted((name, value) for name, value in parameters if name not in left_out)
        return "&".join(f"{name}={value}" for name, value in kept).encode()

    @staticmethod
    def parameters(target: str, body: bytes = b"") -> dict[str, str]:
        """Of an address and a form together."""
        halves = (urlsplit(target).query, body.decode())
        pairs = [pair for half in halves for pair in parse_qsl(half, keep_blank_values=True, strict_parsing=bool(half))]
        if len(dict(pairs)) != len(pairs):
            raise Disbelief("a parameter is there twice")
        return dict(pairs)

    def believe(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        given = self.parameters(target, body)
        if not has_signed("alipay app", self.content(given.items(), "sign"), given.get("sign", "")):
            raise Disbelief("a wrong signature")
        expected = {"app_id": self.APP, "sign_type": "RSA2", "version": "1.0", "charset": "utf-8"}
        if {name: given.get(name) for name in expected} != expected or given.get("format", "JSON").upper() != "JSON":
            raise Disbelief("another app, or another way to speak")
        datetime.strptime(given["timestamp"], "%Y-%m-%d %H:%M:%S")
        if urlsplit(target).path != "/gateway.do":
            raise Disbelief("another address")

    def _answer(self, method: str, target: str, body: bytes) -> Answer:
        given = self.parameters(target, body)
        asked = json.loads(given["biz_content"])
        trade = self.trades.get(asked["out_trade_no"])
        match given["method"]:
            case "alipay.trade.precreate":
                self.asked.append("prepay")
                code = self.number("https://qr.alipay.com/bavh4wjlxf")
                self._codes[code] = given
                return self._said(given, out_trade_no=asked["out_trade_no"], qr_code=code)
            case "alipay.trade.query":
                self.asked.append("query")
                return self._said(given, **self._standing(trade)) if trade else self._no(given, "ACQ.TRADE_NOT_EXIST")
            case "alipay.trade.close":
                self.asked.append("close")
                if trade is None:
                    return self._no(given, "ACQ.TRADE_NOT_EXIST")
                if trade.status != "waiting":
                    return self._no(given, "ACQ.TRADE_STATUS_ERROR")
                trade.status = "closed"
                return self._said(given, out_trade_no=trade.order_no, trade_no=trade.trade_no)
            case "alipay.trade.refund":
                self.asked.append("refund")
                return self._refund(given, asked, trade)
            case "alipay.trade.fastpay.refund.query":
                self.asked.append("query_refund")
                if trade is None:
                    return self._no(given, "ACQ.TRADE_NOT_EXIST")
                refund = self.refund(asked["out_request_no"])
                if refund is None or refund.status == "pending":
                    return self._said(given)
                return self._said(
                    given,
                    out_trade_no=trade.order_no,
                    trade_no=trade.trade_no,
                    out_request_no=refund.refund_no,
                    refund_amount=yuan(refund.fen),
                    total_amount=yuan(trade.fen),
                    refund_status="REFUND_SUCCESS" if refund.status == "succeeded" else "REFUND_FAIL",
                )
            case _:
                return self._no(given, "isv.invalid-method")

    def _refund(self, given: dict[str, str], asked: dict[str, Any], trade: Trade | None) -> Answer:
        if trade is None:
            return self._no(given, "ACQ.TRADE_NOT_EXIST")
        # Alipay's own notes: without a number of its own a refund is one of the whole order.
        refund_no, amount = asked.get("out_request_no", trade.order_no), fen(asked["refund_amount"])
        refund, moved = self.refund(refund_no), False
        if refund is None:
            gone = sum(refund.fen for refund in trade.refunds if refund.status != "failed")
            if trade.paid_at is None or trade.status != "paid":
                return self._no(given, "ACQ.TRADE_STATUS_ERROR")
            if gone + amount > trade.fen:
                return self._no(given, "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
            refund = self._new_refund(trade, refund_no, amount)
            moved = refund.status == "succeeded"
            if trade.refunded == trade.fen:
                trade.status = "closed"
        elif refund.fen != amount:
            return self._no(given, "ACQ.DISCORDANT_REPEAT_REQUEST")
        return self._said(
            given,
            out_trade_no=trade.order_no,
            trade_no=trade.trade_no,
            buyer_logon_id="159****5620",
            fund_change="Y" if moved else "N",
            # Of all refunds.
            refund_fee=yuan(trade.refunded),
        )

    def come(self, parameters: dict[str, str]) -> Trade:
        """A payer opens the address, or scans the code: from now on there is a trade."""
        if "url" in parameters:
            try:
                self.believe("GET", parameters["url"].removeprefix(self.url), {}, b"")
            except Disbelief as problem:
                raise Unpayable(str(problem)) from problem
            given = self.parameters(parameters["url"])
        elif parameters.get("qr_code") in self._codes:
            given = self._codes[parameters["qr_code"]]
        else:
            raise Unpayable("an unknown code")
        asked = json.loads(given["biz_content"])
        order_no, price = asked["out_trade_no"], fen(asked["total_amount"])
        if given["method"] not in ("alipay.trade.page.pay", "alipay.trade.precreate"):
            raise Unpayable("no order")
        if given["notify_url"] != self.notify_url:
            raise Unpayable("another address for notices")
        with self._lock:
            trade = Trade(order_no, price, "waiting", self.number("202611222200140"), (price, asked["subject"]))
            return self.trades.setdefault(order_no, trade)

    def pay(self, parameters: dict[str, str], *, too_late: bool = False) -> Trade:
        with self._lock:
            trade = self.come(parameters)
            if trade.status != "waiting" and not (too_late and trade.status == "closed" and trade.paid_at is None):
                raise Unpayable(f"the trade is {trade.status}")
            trade.status, trade.paid_at = "paid", self.clock()
            return trade

    # What it says.

    @staticmethod
    def _status(trade: Trade) -> str:
        return {"waiting": "WAIT_BUYER_PAY", "paid": "TRADE_SUCCESS", "closed": "TRADE_CLOSED"}[trade.status]

    def _standing(self, trade: Trade) -> dict[str, str]:
        said = {
            "trade_no": trade.trade_no,
            "out_trade_no": trade.order_no,
            "trade_status": self._status(trade),
            "total_amount": yuan(trade.fen),
            "receipt_amount": yuan(trade.fen - 1) if trade.paid_at else "0.00",
            "buyer_pay_amount": yuan(trade.fen - 1) if trade.paid_at else "0.00",
        }
        return said | ({"send_pay_date": beijing(trade.paid_at)} if trade.paid_at else {})

    def _form(self, trade: Trade, event: str, changes: dict[str, Any]) -> dict[str, str]:
        assert trade.paid_at is not None
        app = changes.get("app", self.APP)
        return {
            "gmt_create": beijing(trade.paid_at),
            "charset": "utf-8",
            "subject": "100 积分 ／ credits & more",
            "body": "",
            "buyer_id": "2088102116773037",
            "invoice_amount": yuan(trade.fen),
            "notify_id": self.number("2026112200222160950007001"),
            "fund_bill_list": '[{"amount":"9.90","fundChannel":"ALIPAYACCOUNT"}]',
            "notify_type": "trade_status_sync",
            "trade_status": event,
            "receipt_amount": yuan(trade.fen - 1),
            "buyer_pay_amount": yuan(trade.fen - 1),
            "app_id": app,
            "auth_app_id": app,
            "seller_id": changes.get("merchant", self.SELLER),
            "gmt_payment": beijing(trade.paid_at),
            "notify_time": beijing(self.clock()),
            "version": "1.0",
            "out_trade_no": changes.get("order_no", trade.order_no),
            "total_amount": yuan(changes.get("fen", trade.fen)),
            "trade_no": changes.get("trade_no", trade.trade_no),
            "point_amount": "0.00",
            "passback_params": "a%3D1%26b%3D%2B ",
        }

    def payment(self, order_no: str, /, **changes: Any) -> Notice:
        return self.seal(self._form(self.trades[order_no], changes.get("event", "TRADE_SUCCESS"), changes))

    def refunded(self, refund_no: str, /, **changes: Any) -> Notice:
        """Of a refund that succeeded; there are none of others."""
        refund = self.refund(refund_no)
        assert refund is not None
        assert refund.at is not None
        trade = self.trades[refund.order_no]
        form = self._form(trade, "TRADE_CLOSED" if trade.refunded == trade.fen else "TRADE_SUCCESS", changes)
        back = {
            "gmt_refund": beijing(refund.at) + ".636",
            "refund_fee": yuan(trade.refunded),
            "out_biz_no": changes.get("refund_no", refund_no),
        }
        return self.seal(form | back)

    def seal(self, form: dict[str, str], *, who: str = "alipay") -> Notice:
        """Signs what it sends."""
        signature = sign(who, self.content(form.items(), "sign", "sign_type"))
        body = urlencode({**form, "sign": signature, "sign_type": "RSA2"}).encode()
        return Notice({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body)

    def forgeries(self, notice: Notice) -> dict[str, Notice]:
        form = dict(parse_qsl(notice.body.decode(), keep_blank_values=True))
        signed = {name: value for name, value in form.items() if name not in ("sign", "sign_type")}

        def of(form: dict[str, str]) -> Notice:
            return replace(notice, body=urlencode(form).encode())

        sha1 = sign("alipay", self.content(signed.items()), SHA1())
        return {
            "another amount": of({**form, "total_amount": "990.00"}),
            "one more": of({**form, "more": ""}),
            "one less": of({name: value for name, value in form.items() if name != "body"}),
            "no signature": of({name: value for name, value in form.items() if name != "sign"}),
            "no type": of({name: value for name, value in form.items() if name != "sign_type"}),
            "SHA-1": of({**form, "sign": sha1, "sign_type": "RSA"}),
            "SHA-1 as RSA2": of({**form, "sign": sha1}),
            "RSA2 as RSA": of({**form, "sign_type": "RSA"}),
            "signed by the app": self.seal(signed, who="alipay app"),
            "signed by a stranger": self.seal(signed, who="stranger"),
            "twice": replace(notice, body=notice.body + b"&out_trade_no=" + form["out_trade_no"].encode()),
            "half a body": replace(notice, body=notice.body[: len(notice.body) // 2]),
            "no body": replace(notice, body=b""),
            "JSON": replace(notice, body=json.dumps(form).encode()),
        }

    def is_taken(self, status: int, body: bytes) -> bool:
        return status == 200 and body == b"success"

    def _said(self, given: dict[str, str], **said: str) -> Answer:
        return self._sealed(given, {"code": "10000", "msg": "Success", **said})

    def _no(self, given: dict[str, str], reason: str) -> Answer:
        said = {"code": "40004", "msg": "Business Failed", "sub_code": reason, "sub_msg": "不行"}
        return self._sealed(given, said)

    def _sealed(self, given: dict[str, str], said: dict[str, str]) -> Answer:
        # Slashes as Alipay writes them: whoever writes this text anew before verifying it fails.
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
        name = given["method"].replace(".", "_") + "_response"
        body = f'{{"{name}":{text},"sign":"{sign("alipay", text.encode())}"}}'
        return Answer(200, {"Content-Type": "text/html;charset=utf-8"}, body.encode())

    def _probing(self, answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(b'"msg":"Success"', b'"msg":"success"'))

    def _disbelief(self) -> Answer:
        body = {"error_response": {"code": "40002", "msg": "Invalid Arguments", "sub_code": "isv.invalid-signature"}}
        return Answer(200, {"Content-Type": "text/html;charset=utf-8"}, json.dumps(body).encode())

    def _busy(self, target: str) -> Answer:
        given = self.parameters(target)
        said = {"code": "20000", "msg": "Service Currently Unavailable", "sub_code": "aop.ACQ.SYSTEM_ERROR"}
        return self._sealed(given, said)

    def bill(self) -> bytes:
        names = (
            "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
            "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,"
            "卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
        )
        lines = list[str]()
        counts = {"交易": 0, "退款": 0}
        received = {"交易": 0, "退款": 0}

        def line(trade: Trade, kind: str, at: datetime, amount: int, refund_no: str) -> None:
            counts[kind] += 1
            received[kind] += amount
            start = [
                trade.trade_no + "\t",
                trade.order_no + "\t",
                kind,
                '"100 积分, 和更多"',
                beijing(at),
                beijing(at),
            ]
            money = [yuan(amount), yuan(amount), "0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00\t", "0.00"]
            empty = ["\t", "\t", "\t", "\t", "*水(602***@qq.com)\t"]
            lines.append(",".join([*start, *empty, *money, refund_no + "\t", "-0.06", "0.00", ""]))

        for trade in self.trades.values():
            if trade.paid_at is not None:
                line(trade, "交易", trade.paid_at, trade.fen, "")
            for refund in trade.refunds:
                if refund.status == "succeeded" and refund.at is not None:
                    line(trade, "退款", refund.at, -refund.fen, refund.refund_no)
        day = f"{self.clock().astimezone(BEIJING):%Y年%m月%d日} 00:00:00"
        text = [
            "#支付宝业务明细查询",
            "#账号：[20880000000000000156]",
            f"#起始日期：[{day}]   终止日期：[{day}]",
            "#-----------------------------------------业务明细列表----------------------------------------",
            names,
            *lines,
            "#-----------------------------------------业务明细列表结束------------------------------------",
            f"#交易合计：{counts['交易']}笔，商家实收共{yuan(received['交易'])}元，商家优惠共0.00元",
            f"#退款合计：{counts['退款']}笔，商家实收退款共{yuan(received['退款'])}元，商家优惠退款共0.00元",
            f"#导出时间：[{day}]",
            "",
        ]
        return "\r\n".join(text).encode("gbk")
