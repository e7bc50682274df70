"""WeChat Pay, APIv3."""

from __future__ import annotations

import base64
import json
import secrets
import string
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, HashAlgorithm

from .channel import BEIJING, Answer, Disbelief, Notice, Refund, StandIn, Trade, Unpayable, beijing, yuan
from .keys import has_signed, private_pem, public_pem, sign


class WeChatStandIn(StandIn):
    """WeChat Pay, APIv3, with a public key."""

    name = "wechat"
    SCHEDULE = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)

    MERCHANT = "1900000109"
    APP = "wxd678efh567hg6787"
    SERIAL = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C"
    KEY_ID = "PUB_KEY_ID_0119000001092024112000000000000001"
    SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"

    def __init__(self) -> None:
        super().__init__()
        self.api_v3_key = "".join(secrets.choice(string.ascii_letters) for _ in range(32))
        self._codes: dict[str, str] = {}

    def arguments(self) -> dict[str, Any]:
        return {
            "merchant_id": self.MERCHANT,
            "app_id": self.APP,
            "api_v3_key": self.api_v3_key,
            "merchant_serial": self.SERIAL,
            "merchant_key": private_pem("wechat merchant"),
            "public_keys": {self.KEY_ID: public_pem("wechat")},
            "notify_url": self.notify_url,
            "base_url": self.url,
        }

    # What it is asked.

    def believe(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        kind, _, rest = headers.get("authorization", "").partition(" ")
        if kind != self.SIGNATURE_TYPE:
            raise Disbelief("no signature, or one of another type")
        given = dict(pair.split("=", 1) for pair in rest.split(","))
        fields = {name: value[1:-1] for name, value in given.items() if value[0] == value[-1] == '"'}
        if set(fields) != {"mchid", "nonce_str", "timestamp", "serial_no", "signature"}:
            raise Disbelief("other fields than those")
        if (fields["mchid"], fields["serial_no"]) != (self.MERCHANT, self.SERIAL):
            raise Disbelief("another merchant, or another certificate")
        if abs(self.clock().timestamp() - int(fields["timestamp"])) > 300:
            raise Disbelief("a clock that is off")
        lines = [method, target, fields["timestamp"], fields["nonce_str"]]
        message = "".join(f"{line}\n" for line in lines).encode() + body + b"\n"
        if not has_signed("wechat merchant", message, fields["signature"]):
            raise Disbelief("a wrong signature")
        if headers.get("wechatpay-serial", self.KEY_ID) != self.KEY_ID:
            raise Disbelief("an answer by a key that there is not")

    def _answer(self, method: str, target: str, body: bytes) -> Answer:
        url = urlsplit(target)
        steps = url.path.strip("/").split("/")
        asked: dict[str, Any] = json.loads(body) if body else {}
        match (method, steps):
            case "POST", ["v3", "pay", "transactions", "native" | "jsapi" | "h5" as way]:
                return self._prepay(way, asked)
            case "GET", ["v3", "pay", "transactions", "out-trade-no", order_no]:
                self.asked.append("query")
                if dict(parse_qsl(url.query)) != {"mchid": self.MERCHANT}:
                    return self._no(400, "PARAM_ERROR")
                trade = self.trades.get(order_no)
                return self._ok(self._transaction(trade)) if trade else self._no(404, "ORDER_NOT_EXIST")
            case "POST", ["v3", "pay", "transactions", "out-trade-no", order_no, "close"]:
                self.asked.append("close")
                trade = self.trades.get(order_no)
                if asked != {"mchid": self.MERCHANT}:
                    return self._no(400, "PARAM_ERROR")
                if trade is None:
                    return self._no(404, "ORDER_NOT_EXIST")
                if trade.status == "paid":
                    return self._no(400, "ORDERPAID")
                trade.status = "closed"
                return self._signed(204, b"")
            case "POST", ["v3", "refund", "domestic", "refunds"]:
                self.asked.append("refund")
                return self._refund(asked)
            case "GET", ["v3", "refund", "domestic", "refunds", refund_no]:
                self.asked.append("query_refund")
                refund = self.refund(refund_no)
                return self._ok(self._refund_answer(refund)) if refund else self._no(404, "RESOURCE_NOT_EXISTS")
            case _:
                return self._no(404, "NOT_FOUND")

    def _prepay(self, way: str, asked: dict[str, Any]) -> Answer:
        self.asked.append("prepay")
        if (asked["mchid"], asked["appid"]) != (self.MERCHANT, self.APP):
            return self._no(400, "APPID_MCHID_NOT_MATCH")
        order_no, amount = asked["out_trade_no"], asked["amount"]
        if not 6 <= len(order_no) <= 32 or amount.get("currency", "CNY") != "CNY" or not asked["description"]:
            return self._no(400, "PARAM_ERROR")
        if "time_expire" in asked and datetime.fromisoformat(asked["time_expire"]) <= self.clock():
            return self._no(400, "PARAM_ERROR")
        terms = (amount["total"], asked["description"], asked.get("time_expire"), asked["notify_url"])
        trade = self.trades.setdefault(
            order_no, Trade(order_no, amount["total"], "waiting", self.number("420000000020261122"), terms)
        )
        if trade.terms != terms:
            return self._no(400, "INVALID_REQUEST")
        if trade.status != "waiting":
            return self._no(400, "ORDERPAID" if trade.status == "paid" else "ORDER_CLOSED")
        code = self.number("weixin://wxpay/bizpayurl?pr=")
        self._codes[code] = order_no
        return self._ok({{"native": "code_url", "jsapi": "prepay_id", "h5": "h5_url"}[way]: code})

    def _refund(self, asked: dict[str, Any]) -> Answer:
        named = ("transaction_id", "trade_no") if "transaction_id" in asked else ("out_trade_no", "order_no")
        found = [trade for trade in self.trades.values() if getattr(trade, named[1]) == asked[named[0]]]
        trade = found[0] if found else None
        if trade is None or trade.status != "paid":
            return self._no(404, "RESOURCE_NOT_EXISTS")
        amount, refund_no = asked["amount"], asked["out_refund_no"]
        if (amount["total"], amount["currency"]) != (trade.fen, "CNY") or len(refund_no) > 64:
            return self._no(400, "PARAM_ERROR")
        refund = self.refund(refund_no)
        if refund is None:
            gone = sum(refund.fen for refund in trade.refunds if refund.status != "failed")
            if gone + amount["refund"] > trade.fen:
                return self._no(403, "NOT_ENOUGH")
            refund = self._new_refund(trade, refund_no, amount["refund"])
        elif refund.fen != amount["refund"]:
            return self._no(400, "INVALID_REQUEST")
        return self._ok(self._refund_answer(refund))

    def pay(self, parameters: dict[str, str], *, too_late: bool = False) -> Trade:
        with self._lock:
            codes = (value.removeprefix("prepay_id=") for value in parameters.values())
            known = [code for code in codes if code in self._codes]
            if not known:
                raise Unpayable("an unknown code")
            trade = self.trades[self._codes[known[0]]]
            if trade.status != "waiting" and not (too_late and trade.status == "closed"):
                raise Unpayable(f"the trade is {trade.status}")
            trade.status, trade.paid_at = "paid", self.clock()
            return trade

    # What it says.

    def _transaction(self, trade: Trade) -> dict[str, Any]:
        said: dict[str, Any] = {
            "appid": self.APP,
            "mchid": self.MERCHANT,
            "out_trade_no": trade.order_no,
            "trade_state": {"waiting": "NOTPAY", "paid": "SUCCESS", "closed": "CLOSED"}[trade.status],
            "trade_state_desc": "支付成功" if trade.paid_at else "订单未支付",
        }
        if trade.paid_at is None:
            return said
        if trade.refunds:
            said["trade_state"] = "REFUND"
        return said | {
            "transaction_id": trade.trade_no,
            "trade_type": "NATIVE",
            "bank_type": "OTHERS",
            "attach": "",
            "success_time": trade.paid_at.astimezone(BEIJING).isoformat(timespec="seconds"),
            "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
            # A coupon of WeChat Pay's: the payer pays less than the order costs.
            "amount": {"total": trade.fen, "payer_total": trade.fen - 1, "currency": "CNY", "payer_currency": "CNY"},
            "promotion_detail": [],
        }

    def _refund_answer(self, refund: Refund) -> dict[str, Any]:
        trade = self.trades[refund.order_no]
        return {
            "refund_id": refund.refund_id,
            "out_refund_no": refund.refund_no,
            "transaction_id": trade.trade_no,
            "out_trade_no": refund.order_no,
            "channel": "ORIGINAL",
            "user_received_account": "支付用户零钱",
            "create_time": self.clock().astimezone(BEIJING).isoformat(timespec="seconds"),
            "status": self._refund_status(refund, pending="PROCESSING"),
            "amount": {
                "total": trade.fen,
                "refund": refund.fen,
                "payer_total": trade.fen,
                "payer_refund": refund.fen,
                "settlement_refund": refund.fen,
                "settlement_total": trade.fen,
                "discount_refund": 0,
                "currency": "CNY",
            },
        }

    @staticmethod
    def _refund_status(refund: Refund, pending: str) -> str:
        return {"pending": pending, "succeeded": "SUCCESS", "failed": "CLOSED"}[refund.status]

    def payment(self, order_no: str, /, **changes: Any) -> Notice:
        said = self._transaction(self.trades[order_no])
        said["trade_state"] = "SUCCESS"
        said["out_trade_no"] = changes.get("order_no", order_no)
        said["transaction_id"] = changes.get("trade_no", said["transaction_id"])
        said["appid"] = changes.get("app", self.APP)
        said["mchid"] = changes.get("merchant", self.MERCHANT)
        said["amount"] |= {"total": changes.get("fen", said["amount"]["total"])}
        said["amount"] |= {"currency": changes.get("currency", "CNY")}
        return self.envelope("TRANSACTION.SUCCESS", "transaction", said)

    def refunded(self, refund_no: str, /, **changes: Any) -> Notice:
        refund = self.refund(refund_no)
        assert refund is not None
        trade = self.trades[refund.order_no]
        # A refund that can't end yet is one that somebody has to look after.
        status = self._refund_status(refund, pending="ABNORMAL")
        said = {
            "mchid": changes.get("merchant", self.MERCHANT),
            "transaction_id": trade.trade_no,
            "out_trade_no": changes.get("order_no", refund.order_no),
            "refund_id": refund.refund_id,
            "out_refund_no": changes.get("refund_no", refund_no),
            "refund_status": status,
            "user_received_account": "支付用户零钱",
            "amount": {
                "total": trade.fen,
                "refund": changes.get("fen", refund.fen),
                "payer_total": trade.fen,
                "payer_refund": refund.fen,
            },
        }
        if refund.at is not None:
            said["success_time"] = refund.at.astimezone(BEIJING).isoformat(timespec="seconds")
        return self.envelope(f"REFUND.{status}", "refund", said)

    def envelope(self, event: str, kind: str, said: dict[str, Any]) -> Notice:
        """A notice of anything."""
        nonce = secrets.token_hex(6)
        sealed = AESGCM(self.api_v3_key.encode()).encrypt(
            nonce.encode(), json.dumps(said, ensure_ascii=False).encode(), kind.encode()
        )
        resource = {
            "original_type": kind,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": kind,
            "nonce": nonce,
        }
        body = {
            "id": self.number("EV-"),
            "create_time": self.clock().astimezone(BEIJING).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": event,
            "summary": "支付成功",
            "resource": resource,
        }
        return self.seal(json.dumps(body, ensure_ascii=False).encode())

    def seal(
        self,
        body: bytes,
        *,
        who: str = "wechat",
        serial: str = KEY_ID,
        age: float = 0,
        digest: HashAlgorithm | None = None,
    ) -> Notice:
        """Signs what it sends; `age`: that many seconds ago."""
        stamp, nonce = str(int(self.clock().timestamp() - age)), secrets.token_hex(16)
        headers = {
            "Content-Type": "application/json",
            "Wechatpay-Timestamp": stamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": sign(who, f"{stamp}\n{nonce}\n".encode() + body + b"\n", digest),
            "Wechatpay-Signature-Type": self.SIGNATURE_TYPE,
            "Wechatpay-Serial": serial,
        }
        return Notice(headers, body)

    def probe(self, notice: Notice) -> Notice:
        """With the signature that is wrong on purpose."""
        return self._with(notice, "Wechatpay-Signature", "WECHATPAY/SIGNTEST/" + notice.headers["Wechatpay-Signature"])

    @staticmethod
    def _with(notice: Notice, name: str, value: str | None) -> Notice:
        headers = {each: text for each, text in notice.headers.items() if each != name}
        return replace(notice, headers=headers if value is None else {**headers, name: value})

    def forgeries(self, notice: Notice) -> dict[str, Notice]:
        forged = {
            "a probe": self.probe(notice),
            "another body": replace(notice, body=notice.body.replace(b"EV-", b"EV_")),
            "half a body": replace(notice, body=notice.body[: len(notice.body) // 2]),
            "no body": replace(notice, body=b""),
            "old": self.seal(notice.body, age=301),
            "of tomorrow": self.seal(notice.body, age=-86_400),
            "signed by the merchant": self.seal(notice.body, who="wechat merchant"),
            "signed by a stranger": self.seal(notice.body, who="stranger"),
            "SHA-1": self.seal(notice.body, digest=SHA1()),
            "another time": self._with(
                notice, "Wechatpay-Timestamp", str(int(notice.headers["Wechatpay-Timestamp"]) + 1)
            ),
            "another key": self._with(notice, "Wechatpay-Serial", "PUB_KEY_ID_2"),
            "a certificate's serial": self._with(notice, "Wechatpay-Serial", self.SERIAL),
            "SM2": self._with(notice, "Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3"),
        }
        for name in ("Serial", "Signature", "Timestamp", "Nonce"):
            forged[f"no {name}"] = self._with(notice, f"Wechatpay-{name}", None)
        return forged

    def is_taken(self, status: int, body: bytes) -> bool:
        return status in (200, 204)

    def _signed(self, status: int, body: bytes) -> Answer:
        notice = self.seal(body)
        return Answer(status, notice.headers, body)

    def _ok(self, said: dict[str, Any]) -> Answer:
        return self._signed(200, json.dumps(said, ensure_ascii=False).encode())

    def _no(self, status: int, code: str) -> Answer:
        return self._signed(status, json.dumps({"code": code, "message": "不行"}, ensure_ascii=False).encode())

    def _probing(self, answer: Answer) -> Answer:
        probe = self.probe(Notice(answer.headers, answer.body))
        return replace(answer, headers=probe.headers)

    def _disbelief(self) -> Answer:
        body = json.dumps({"code": "SIGN_ERROR", "message": "签名错误"}, ensure_ascii=False).encode()
        return Answer(401, {"Content-Type": "application/json"}, body)

    def _busy(self, target: str) -> Answer:
        return self._no(500, "SYSTEM_ERROR")

    def bill(self) -> bytes:
        names = (
            "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
            "应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,"
            "费率,订单金额,申请退款金额,费率备注"
        )
        lines = list[list[str]]()
        paid_fen = returned_fen = 0
        for trade in self.trades.values():
            if trade.paid_at is None:
                continue
            paid_fen += trade.fen
            start = [beijing(trade.paid_at), self.APP, self.MERCHANT, "0", "", trade.trade_no, trade.order_no]
            start += ["oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "NATIVE"]
            price = yuan(trade.fen)
            paid = ["SUCCESS", "OTHERS", "CNY", price, "0.00", "0", "0", "0.00", "0.00", "", "", "100 积分, 和更多", ""]
            lines.append([*start, *paid, "0.06000", "0.60%", price, "0.00", ""])
            for refund in trade.refunds:
                if refund.status != "succeeded" or refund.at is None:
                    continue
                back = ["REFUND", "OTHERS", "CNY", "0.00", "0.00", refund.refund_id, refund.refund_no]
                returned_fen += refund.fen
                back += [yuan(refund.fen), "0.00", "ORIGINAL", "SUCCESS", "100 积分, 和更多", "", "-0.03000", "0.60%"]
                lines.append([beijing(refund.at), *start[1:], *back, "0.00", yuan(refund.fen), ""])
        sums = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
        paid_altogether, returned = yuan(paid_fen), yuan(returned_fen)
        total = [str(len(lines)), paid_altogether, returned, "0.00", "0.00", paid_altogether, returned]
        values = ["".join(f",`{value}" for value in line)[1:] for line in (*lines, total)]
        return "\r\n".join(["\ufeff" + names, *values[:-1], sums, values[-1], ""]).encode()
