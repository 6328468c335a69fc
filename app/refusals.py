"""Why the service refuses: its codes, and the exception that carries one. `app.errors` makes answers of them."""

from enum import StrEnum

from model.errors import ErrorCode


class ServiceCode(StrEnum):
    """Every way in which the service itself refuses. Part of the HTTP contract, as `ErrorCode` is."""

    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    CONTENT_TYPE_UNSUPPORTED = "content_type_unsupported"
    MULTIPART_INVALID = "multipart_invalid"
    PARAMETERS_INVALID = "parameters_invalid"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_INVALID = "request_invalid"
    IMAGE_UNDECODABLE = "image_undecodable"
    DECODER_UNAVAILABLE = "decoder_unavailable"
    OVERLOADED = "overloaded"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    MODEL_LOADING = "model_loading"
    MODEL_UNAVAILABLE = "model_unavailable"
    SHUTTING_DOWN = "shutting_down"
    RECORD_UNAVAILABLE = "record_unavailable"
    REQUEST_ID_REUSED = "request_id_reused"
    ARCHIVE_FULL = "archive_full"
    EXPLAIN_UNAVAILABLE = "explain_unavailable"
    KEY_MISSING = "key_missing"
    KEY_INVALID = "key_invalid"
    SCOPE_MISSING = "scope_missing"
    CAMERA_FORBIDDEN = "camera_forbidden"
    CROSS_SITE = "cross_site"
    RATE_LIMITED = "rate_limited"
    KEYS_UNAVAILABLE = "keys_unavailable"
    SIGN_IN_FAILED = "sign_in_failed"
    ROLE_MISSING = "role_missing"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    INTERNAL_ERROR = "internal_error"


Code = ErrorCode | ServiceCode


class Refusal(Exception):
    """What the service refuses; `SteelsightError` is its like in the domain.

    retry_after_s: when to ask again, where that follows from more than the code.
    """

    def __init__(self, code: Code, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
