"""The exchange's sessions, as schedules and partitions need them when the definitions are loaded."""

from trading_orchestration.domain.market_time import MarketCalendar


def exchange_calendar() -> MarketCalendar:
    """The calendar of `TRADING_EXCHANGE`, with the hours of `TRADING_HOURS_FILE`; opens no database."""
    from datetime import UTC, datetime

    from trading_orchestration.market_data.calendars import load_calendar
    from trading_orchestration.settings import read_settings

    settings = read_settings()
    today = datetime.now(UTC).date()  # noqa: TID251 (definitions are loaded outside of any tick)
    return load_calendar(
        settings.trading_exchange,
        today=today,
        cache_directory=settings.home / "calendars",
        hours_file=settings.hours_file,
    )
