"""Answers a request with the user behind its token, or with 401."""

from auth import token_manager

USERS = {"ada": ("correct horse", ["admin"]), "bob": ("battery staple", [])}


def log_in(user: str, password: str) -> str:
    known_password, roles = USERS[user]
    if password != known_password:
        raise token_manager.AuthenticationError("Wrong password")
    return token_manager.issue(user, roles)


def handle(headers: dict[str, str]) -> tuple[int, str]:
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    claims = token_manager.read(token)
    return 200, claims["user"]


if __name__ == "__main__":
    print(handle({"Authorization": "Bearer " + log_in("ada", "correct horse")}))
