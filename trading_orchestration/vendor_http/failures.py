"""What can go wrong between a request and a readable answer; each vendor turns it into its own error.

HttpError
├ NotSentError            no byte of the request reached the vendor
│ └ RateLimitedError      the vendor's rate limit leaves no room soon enough
├ NoAnswerError           the request may have been acted on; no whole answer came back
└ UnreadableAnswerError   an answer came, and it is not what the vendor's format says
"""

from trading_orchestration.errors import TradingError


class HttpError(TradingError):
    """A request to a vendor did not end in a readable answer."""


class NotSentError(HttpError):
    """The vendor got nothing, so nothing happened there."""


class RateLimitedError(NotSentError):
    """The rate limit is used up for longer than the caller may wait; nothing was sent."""


class NoAnswerError(HttpError):
    """The request went out and no whole answer came back: the vendor may have acted."""


class UnreadableAnswerError(HttpError):
    """The vendor answered something that its published format does not know."""
