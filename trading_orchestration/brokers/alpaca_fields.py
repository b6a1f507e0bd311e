"""What Alpaca has published of its trading rows; anything else is used as far as it goes, and told of.

Fields of `trading-api.json` 2.0.1 and of recordings of paper accounts. A field that was withdrawn stays
known: whether it still comes says nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_FIELDS = {
    "order": (
        "id client_order_id created_at updated_at submitted_at filled_at expired_at expires_at canceled_at "
        "failed_at replaced_at replaced_by replaces asset_id symbol asset_class notional qty filled_qty "
        "filled_avg_price order_class order_type type side position_intent time_in_force limit_price "
        "stop_price status extended_hours legs trail_percent trail_price hwm ratio_qty subtag source "
        "commission commission_type advanced_instructions"
    ),
    "fill": (
        "id activity_type type transaction_time order_id order_status symbol side price qty cum_qty "
        "leaves_qty swap_rate execution_id date status"
    ),
    "activity": (
        "id activity_type activity_sub_type date created_at net_amount symbol cusip qty per_share_amount "
        "description status group_id currency swap_rate"
    ),
    "position": (
        "asset_id symbol exchange asset_class asset_marginable qty qty_available side avg_entry_price "
        "market_value cost_basis unrealized_pl unrealized_plpc unrealized_intraday_pl "
        "unrealized_intraday_plpc current_price lastday_price change_today swap_rate avg_entry_swap_rate "
        "prev_swap_rate usd"
    ),
    "account": (
        "id account_number status crypto_status currency cash equity last_equity portfolio_value "
        "buying_power effective_buying_power regt_buying_power non_marginable_buying_power "
        "options_buying_power daytrading_buying_power initial_margin maintenance_margin "
        "last_maintenance_margin long_market_value short_market_value position_market_value sma multiplier "
        "accrued_fees pending_reg_taf_fees pending_transfer_in pending_transfer_out intraday_adjustments "
        "created_at balance_asof bod_dtbp cash_withdrawable cash_transferable account_blocked "
        "trading_blocked transfers_blocked trade_suspended_by_user shorting_enabled pattern_day_trader "
        "daytrade_count options_approved_level options_trading_level crypto_tier admin_configurations "
        "user_configurations"
    ),
}
_KNOWN = {kind: frozenset(names.split()) for kind, names in _FIELDS.items()}


def unknown_fields(kind: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Each field of a row that Alpaca has not published, as words for a person."""
    article = "an" if kind[0] in "ao" else "a"
    return (f"the field {name[:40]} of {article} {kind}" for name in sorted(row.keys() - _KNOWN[kind]))
