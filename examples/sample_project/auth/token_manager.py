"""Signs the claims of a login as a token, and reads them back."""

import base64
import hashlib
import hmac
import json
import time

SECRET = b"only-for-this-example"
LIFETIME_SECONDS = 900


class AuthenticationError(Exception):
    """A token that proves nothing."""


def issue(user: str, roles: list[str]) -> str:
    claims = {"user": user, "roles": roles, "expires": int(time.time()) + LIFETIME_SECONDS}
    payload = json.dumps(claims).encode()
    signature = hmac.new(SECRET, payload, hashlib.sha256).digest()
    return f"{_encode(payload)}.{_encode(signature)}"


def read(token: str) -> dict:
    encoded_payload, encoded_signature = token.split(".")
    claims = json.loads(_decode(encoded_payload))
    payload = json.dumps(claims, sort_keys=True).encode()
    expected = hmac.new(SECRET, payload, hashlib.sha256).digest()
    if not hmac.compare_digest(expected, _decode(encoded_signature)):
        raise AuthenticationError("Invalid token signature")
    if claims["expires"] < time.time():
        raise AuthenticationError("Token has expired")
    return claims


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)
