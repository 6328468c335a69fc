"""Domain errors: a stable machine code and a message for people. No HTTP in here.

The message says what was received, what was expected and how to put it right. `app.errors` maps
each code to an HTTP status; the command lines print the message and exit with 1.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Every way in which the domain refuses work. Codes are part of the HTTP contract: never rename one."""

    BODY_EMPTY = "body_empty"
    IMAGE_FORMAT_UNSUPPORTED = "image_format_unsupported"
    IMAGE_PIXEL_TYPE_UNSUPPORTED = "image_pixel_type_unsupported"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_MULTI_FRAME = "image_multi_frame"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_SMALL = "image_too_small"
    RAW_FRAME_INVALID = "raw_frame_invalid"
    NETWORK_INVALID = "network_invalid"
    ARTIFACT_INVALID = "artifact_invalid"
    SIGNING_KEY_INVALID = "signing_key_invalid"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    EXPORT_DISAGREES = "export_disagrees"
    MODEL_UNKNOWN = "model_unknown"
    NO_ACTIVE_MODEL = "no_active_model"
    NO_PREVIOUS_MODEL = "no_previous_model"


class SteelsightError(Exception):
    """A refusal with a reason.

    >>> error = SteelsightError(ErrorCode.IMAGE_TOO_SMALL, "the frame is 4 x 4 px; at least 8 x 8 px is needed")
    >>> error.code.value, str(error)
    ('image_too_small', 'the frame is 4 x 4 px; at least 8 x 8 px is needed')
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
