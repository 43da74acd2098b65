"""What can go wrong between a client and a node's API, each with a hint and the exit code it means."""

from typing import Protocol

from node.exits import Exit, UserError

EXIT_OF_CODE = {
    "unauthorized": Exit.NOT_RUNNING,
    "forbidden_host": Exit.NOT_RUNNING,
    "not_found": Exit.NOT_FOUND,
    "ambiguous": Exit.NOT_FOUND,
    "bad_request": Exit.USAGE,
    "too_large": Exit.BAD_FILE,
    "bad_file": Exit.BAD_FILE,
    "refused": Exit.FAILED,
    "not_enough_balance": Exit.NO_BALANCE,
    "starting": Exit.NOT_RUNNING,
    "stopping": Exit.NOT_RUNNING,
    "busy": Exit.NOT_RUNNING,
    "damaged": Exit.DAMAGED,
    "disk": Exit.DISK,
    "timeout": Exit.TIMEOUT,
    "internal": Exit.FAILED,
}

EXIT_OF_STATUS = {
    400: Exit.USAGE,
    401: Exit.NOT_RUNNING,
    403: Exit.NOT_RUNNING,
    404: Exit.NOT_FOUND,
    503: Exit.NOT_RUNNING,
    504: Exit.TIMEOUT,
}


class Address(Protocol):
    """The part of a node's address that errors show."""

    @property
    def url(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def start_hint(self) -> str: ...


class ClientError(UserError):
    """Root: the node could not be asked, or said no."""


class NodeNotRunning(ClientError):
    """There is no address to ask."""

    exit_code = Exit.NOT_RUNNING


class NoAnswer(ClientError):
    """There is an address, and nothing listens."""

    exit_code = Exit.NOT_RUNNING

    def __init__(self, message: str, address: Address) -> None:
        super().__init__(f"{message}; address from {address.source}", address.start_hint)


class TimedOut(ClientError):
    """The node took the request and did not answer in time."""

    exit_code = Exit.TIMEOUT

    def __init__(self, message: str, address: Address) -> None:
        super().__init__(
            f"{message} from {address.url} ({address.source})",
            "the node may be busy: try again, or look at its log",
        )


class BadAnswer(ClientError):
    """What answered does not speak the API."""

    exit_code = Exit.NOT_RUNNING

    def __init__(self, message: str, address: Address) -> None:
        super().__init__(
            f"{message}; address {address.url} from {address.source}",
            "the node is of another version, or another program took its port: restart the node",
        )


class ApiError(ClientError):
    """The node understood and said no."""

    def __init__(self, status: int, code: str, message: str, hint: str, address: Address) -> None:
        if code == "unauthorized":
            message = f"{message} (asked {address.url}, from {address.source})"
            hint = hint or "api.token does not belong to the node at this address: restart the node"
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.exit_code = EXIT_OF_CODE.get(code) or EXIT_OF_STATUS.get(status, Exit.FAILED)
