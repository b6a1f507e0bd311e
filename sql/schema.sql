-- What the migrations make, in one piece: read it, do not edit it.
-- `python -m trading_orchestration.store.migrations dump` rewrites it; the reasons stand in migrations/.

CREATE SCHEMA paper;

CREATE TYPE paper.order_status AS ENUM (
    'accepted',
    'partially_filled',
    'filled',
    'cancelled',
    'expired',
    'rejected'
);

CREATE TYPE adjustment_cause AS ENUM (
    'fill_missed',
    'manual_trade',
    'split',
    'dividend',
    'fee',
    'correction',
    'unknown',
    'symbol_change',
    'delisting'
);

CREATE TYPE alert_condition AS ENUM (
    'above',
    'below',
    'percent_change'
);

CREATE TYPE alert_status AS ENUM (
    'active',
    'triggered',
    'disabled'
);

CREATE TYPE bar_timeframe AS ENUM (
    'day',
    'minute'
);

CREATE TYPE broker_environment AS ENUM (
    'paper',
    'live'
);

CREATE TYPE cash_movement_kind AS ENUM (
    'deposit',
    'withdrawal',
    'dividend',
    'interest',
    'fee'
);

CREATE TYPE corporate_action_kind AS ENUM (
    'split',
    'dividend',
    'symbol_change',
    'delisting'
);

CREATE TYPE delivery_status AS ENUM (
    'waiting',
    'sending',
    'sent',
    'abandoned'
);

CREATE TYPE discrepancy_resolution AS ENUM (
    'adjusted',
    'halted'
);

CREATE TYPE execution_status AS ENUM (
    'started',
    'completed',
    'failed',
    'skipped'
);

CREATE TYPE execution_trigger AS ENUM (
    'schedule',
    'manual',
    'backfill',
    'replay'
);

CREATE TYPE halt_level AS ENUM (
    'no_new',
    'cancel_open',
    'flatten'
);

CREATE TYPE job_status AS ENUM (
    'enabled',
    'error',
    'probing',
    'disabled'
);

CREATE TYPE job_type AS ENUM (
    'strategy_execution',
    'order_status_check',
    'position_sync',
    'price_update',
    'portfolio_snapshot',
    'alert_price_check'
);

CREATE TYPE notification_severity AS ENUM (
    'info',
    'warning',
    'critical'
);

CREATE TYPE order_type AS ENUM (
    'market',
    'limit',
    'stop',
    'stop_limit'
);

CREATE TYPE time_in_force AS ENUM (
    'day',
    'gtc'
);

CREATE TYPE trade_side AS ENUM (
    'buy',
    'sell'
);

CREATE TYPE trade_status AS ENUM (
    'pending',
    'submitting',
    'submitted',
    'partially_filled',
    'filled',
    'cancelled',
    'expired',
    'rejected'
);

CREATE FUNCTION mark_snapshots_of_late_adjustments() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM mark_snapshots_stale(
        array_agg(portfolio_id), array_agg(occurred_at),
        array_agg(format('An adjustment of %s (%s) as of %s UTC was booked later.', coalesce(symbol, 'cash'), cause,
                         to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))))
    FROM entries;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_snapshots_of_late_fills() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM mark_snapshots_stale(
        array_agg(portfolio_id), array_agg(executed_at),
        array_agg(format('A fill of %s executed at %s UTC was booked later.', symbol,
                         to_char(executed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))))
    FROM entries;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_snapshots_of_late_movements() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM mark_snapshots_stale(
        array_agg(portfolio_id), array_agg(occurred_at),
        array_agg(format('A cash movement (%s) as of %s UTC was booked later.', kind,
                         to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))))
    FROM entries;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_snapshots_of_other_closes() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    ids bigint[];
    sessions date[];
    reasons text[];
BEGIN
    WITH touched AS (SELECT DISTINCT symbol, session FROM changed_bars),
    valued AS (
        SELECT h.portfolio_id, h.session, h.symbol, h.close, h.close_session, t.session AS bar_session
        FROM touched t CROSS JOIN portfolios p
        JOIN portfolio_snapshot_positions h
             ON h.portfolio_id = p.id AND h.session = t.session AND h.symbol = t.symbol
        UNION ALL
        SELECT h.portfolio_id, h.session, h.symbol, h.close, h.close_session, t.session
        FROM touched t
        JOIN portfolio_snapshot_positions h
             ON h.symbol = t.symbol AND h.close_age > 0 AND t.session >= h.close_session AND t.session < h.session
    ), judged AS (
        SELECT v.*, coalesce(
                   (SELECT b.close FROM bars b
                    WHERE b.timeframe = 'day' AND b.symbol = v.symbol AND b.session = v.bar_session),
                   (SELECT b.close FROM bars b
                    WHERE b.timeframe = 'minute' AND b.symbol = v.symbol AND b.session = v.bar_session
                    ORDER BY b.starts_at DESC LIMIT 1)) AS now_close
        FROM valued v
    )
    SELECT array_agg(portfolio_id), array_agg(session),
           array_agg(format('The close of %s in %s %s.', symbol, bar_session, CASE
               WHEN now_close IS NULL THEN 'is gone'
               WHEN bar_session > close_session THEN 'came later'
               ELSE format('was %s and is %s', trim_scale(close), trim_scale(now_close)) END))
    INTO ids, sessions, reasons
    FROM judged
    WHERE CASE WHEN bar_session = close_session THEN now_close IS DISTINCT FROM close ELSE now_close IS NOT NULL END;
    IF ids IS NOT NULL THEN
        PERFORM FROM portfolios p ORDER BY p.id FOR NO KEY UPDATE;
        UPDATE portfolio_snapshots s SET stale_since = clock_timestamp(), stale_reason = n.reason
        FROM (SELECT DISTINCT ON (e.portfolio_id, e.session) e.portfolio_id, e.session, e.reason
              FROM unnest(ids, sessions, reasons) AS e (portfolio_id, session, reason)
              ORDER BY e.portfolio_id, e.session, e.reason) n
        WHERE s.portfolio_id = n.portfolio_id AND s.session = n.session AND s.stale_since IS NULL;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_snapshots_stale(portfolio_ids bigint[], instants timestamptz[], reasons text[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM portfolios p WHERE p.id = ANY(portfolio_ids) ORDER BY p.id FOR NO KEY UPDATE;
    UPDATE portfolio_snapshots s SET stale_since = clock_timestamp(), stale_reason = n.reason
    FROM (SELECT DISTINCT ON (e.portfolio_id) e.portfolio_id, e.at, e.reason
          FROM unnest(portfolio_ids, instants, reasons) AS e (portfolio_id, at, reason)
          ORDER BY e.portfolio_id, e.at) n
    WHERE s.portfolio_id = n.portfolio_id AND s.session >= CAST(n.at AT TIME ZONE 'UTC' AS date) - 2
      AND s.valued_at >= n.at AND s.stale_since IS NULL;
END $$;

CREATE FUNCTION refuse_change_of_corporate_action() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    later text[] := ARRAY['due_at', 'applied_at', 'withdrawn_at', 'withdrawn_by', 'withdrawn_reason'];
BEGIN
    IF to_jsonb(NEW) - later = to_jsonb(OLD) - later
        AND (OLD.applied_at IS NULL OR NEW.applied_at = OLD.applied_at)
        AND (OLD.withdrawn_at IS NULL
             OR (NEW.withdrawn_at, NEW.withdrawn_by, NEW.withdrawn_reason)
                = (OLD.withdrawn_at, OLD.withdrawn_by, OLD.withdrawn_reason))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Withdraw the action, and enter it anew.';
END $$;

CREATE FUNCTION refuse_change_of_final_trade() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'trade % is % and cannot become %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION refuse_change_of_ledger() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Book an adjustment instead.';
END $$;

CREATE FUNCTION set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE TABLE paper.accounts (
    account_number text NOT NULL,
    cash numeric(24,9) NOT NULL,
    currency text DEFAULT 'USD'::text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT account_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[cash])))
);

CREATE TABLE paper.action_entries (
    account_number text NOT NULL,
    corporate_action_id bigint NOT NULL,
    number integer NOT NULL,
    symbol text NOT NULL,
    quantity numeric(20,9) NOT NULL,
    unit_cost numeric(20,9),
    keeps_cost boolean NOT NULL,
    cash numeric(24,9) NOT NULL,
    occurred_at timestamptz NOT NULL,
    CONSTRAINT action_entry_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, unit_cost, cash])))
);

CREATE TABLE paper.applied_actions (
    account_number text NOT NULL,
    corporate_action_id bigint NOT NULL,
    applied_at timestamptz NOT NULL
);

CREATE TABLE paper.executions (
    id text NOT NULL,
    order_id uuid NOT NULL,
    account_number text NOT NULL,
    symbol text NOT NULL,
    side trade_side NOT NULL,
    quantity numeric(20,9) NOT NULL,
    price numeric(20,9) NOT NULL,
    fee numeric(20,9) DEFAULT 0 NOT NULL,
    cumulative_quantity numeric(20,9) NOT NULL,
    executed_at timestamptz NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT execution_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, price, fee, cumulative_quantity]))),
    CONSTRAINT executions_price_check CHECK ((price > 0)),
    CONSTRAINT executions_quantity_check CHECK ((quantity > 0))
);

ALTER TABLE paper.executions ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE paper.orders (
    id uuid NOT NULL,
    account_number text NOT NULL,
    client_order_id text NOT NULL,
    symbol text NOT NULL,
    side trade_side NOT NULL,
    order_type order_type NOT NULL,
    time_in_force time_in_force NOT NULL,
    quantity numeric(20,9) NOT NULL,
    limit_price numeric(20,9),
    stop_price numeric(20,9),
    is_stop_triggered boolean DEFAULT false NOT NULL,
    status paper.order_status NOT NULL,
    filled_quantity numeric(20,9) DEFAULT 0 NOT NULL,
    filled_average_price numeric(20,9),
    unit_reserve numeric(20,9) NOT NULL,
    submitted_at timestamptz NOT NULL,
    active_from timestamptz NOT NULL,
    expires_at timestamptz,
    updated_at timestamptz NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT filled_quantity_is_within_quantity CHECK (((filled_quantity >= 0) AND (filled_quantity <= quantity))),
    CONSTRAINT order_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, limit_price, stop_price, unit_reserve, filled_quantity, filled_average_price]))),
    CONSTRAINT orders_limit_price_check CHECK ((limit_price > 0)),
    CONSTRAINT orders_quantity_check CHECK ((quantity > 0)),
    CONSTRAINT orders_stop_price_check CHECK ((stop_price > 0)),
    CONSTRAINT orders_unit_reserve_check CHECK ((unit_reserve >= 0))
);

ALTER TABLE paper.orders ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE paper.positions (
    account_number text NOT NULL,
    symbol text NOT NULL,
    quantity numeric(20,9) NOT NULL,
    average_entry_price numeric(20,9) NOT NULL,
    CONSTRAINT position_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, average_entry_price])))
)
WITH (fillfactor='50');

CREATE TABLE paper.prices (
    account_number text NOT NULL,
    symbol text NOT NULL,
    price numeric(20,9) NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT price_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[price]))),
    CONSTRAINT prices_price_check CHECK ((price > 0))
)
WITH (fillfactor='50');

CREATE TABLE paper.transfers (
    account_number text NOT NULL,
    reference text NOT NULL,
    amount numeric(24,9) NOT NULL,
    booked_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT transfers_amount_check CHECK (((amount > '-Infinity'::numeric) AND (amount < 'Infinity'::numeric)))
);

CREATE TABLE adjustments (
    id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    discrepancy_id bigint,
    symbol text,
    quantity numeric(20,9) DEFAULT 0 NOT NULL,
    cash_amount numeric(24,9) DEFAULT 0 NOT NULL,
    unit_cost numeric(20,9),
    cause adjustment_cause NOT NULL,
    note text NOT NULL,
    actor text NOT NULL,
    occurred_at timestamptz NOT NULL,
    booked_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    corporate_action_id bigint,
    revision integer DEFAULT 0 NOT NULL,
    keeps_cost boolean DEFAULT false NOT NULL,
    CONSTRAINT a_kept_cost_has_units_and_no_unit_cost CHECK (((NOT keeps_cost) OR ((quantity <> 0) AND (unit_cost IS NULL)))),
    CONSTRAINT adjusted_quantity_names_its_symbol CHECK (((quantity = 0) OR (symbol IS NOT NULL))),
    CONSTRAINT adjustment_moves_a_quantity_or_cash CHECK (((quantity <> 0) OR (cash_amount <> 0))),
    CONSTRAINT adjustment_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, cash_amount, unit_cost]))),
    CONSTRAINT revision_is_not_negative CHECK ((revision >= 0)),
    CONSTRAINT unit_cost_is_not_negative CHECK ((unit_cost >= 0))
);

ALTER TABLE adjustments ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE bar_acceptances (
    symbol text NOT NULL,
    session date NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    accepted_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT acceptance_has_actor_and_reason CHECK (((actor <> ''::text) AND (reason <> ''::text)))
);

CREATE TABLE bar_revisions (
    id bigint NOT NULL,
    symbol text NOT NULL,
    timeframe bar_timeframe NOT NULL,
    starts_at timestamptz NOT NULL,
    session date NOT NULL,
    old_open numeric(20,9) NOT NULL,
    old_high numeric(20,9) NOT NULL,
    old_low numeric(20,9) NOT NULL,
    old_close numeric(20,9) NOT NULL,
    old_volume numeric(24,9) NOT NULL,
    old_source text NOT NULL,
    new_open numeric(20,9) NOT NULL,
    new_high numeric(20,9) NOT NULL,
    new_low numeric(20,9) NOT NULL,
    new_close numeric(20,9) NOT NULL,
    new_volume numeric(24,9) NOT NULL,
    source text NOT NULL,
    revised_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT bar_revision_changes_the_bar CHECK (((old_open <> new_open) OR (old_high <> new_high) OR (old_low <> new_low) OR (old_close <> new_close) OR (old_volume <> new_volume))),
    CONSTRAINT bar_revision_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[old_open, old_high, old_low, old_close, old_volume, new_open, new_high, new_low, new_close, new_volume])))
);

ALTER TABLE bar_revisions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE bars (
    symbol text NOT NULL,
    timeframe bar_timeframe NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    session date NOT NULL,
    open numeric(20,9) NOT NULL,
    high numeric(20,9) NOT NULL,
    low numeric(20,9) NOT NULL,
    close numeric(20,9) NOT NULL,
    volume numeric(24,9) NOT NULL,
    source text NOT NULL,
    imported_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT bar_ends_after_it_starts CHECK ((ends_at > starts_at)),
    CONSTRAINT bar_low_and_high_bound_open_and_close CHECK (((low <= open) AND (low <= close) AND (high >= open) AND (high >= close))),
    CONSTRAINT bar_prices_are_finite CHECK ((high < 'Infinity'::numeric)),
    CONSTRAINT bar_prices_are_positive CHECK ((low > 0)),
    CONSTRAINT bar_volume_is_not_negative CHECK (((volume >= 0) AND (volume < 'Infinity'::numeric)))
);

CREATE TABLE breaker_events (
    id bigint NOT NULL,
    job_type job_type NOT NULL,
    old_status job_status NOT NULL,
    new_status job_status NOT NULL,
    reason text NOT NULL,
    run_id text,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT breaker_event_changes_the_status CHECK ((old_status <> new_status))
);

ALTER TABLE breaker_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE broker_accounts (
    id bigint NOT NULL,
    broker text NOT NULL,
    account_number text NOT NULL,
    environment broker_environment NOT NULL,
    executions_read_until timestamptz,
    reconciled_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);

ALTER TABLE broker_accounts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE cash_balances (
    portfolio_id bigint NOT NULL,
    amount numeric(24,9) NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT cash_balance_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[amount])))
)
WITH (fillfactor='50');

CREATE TABLE cash_movements (
    id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    kind cash_movement_kind NOT NULL,
    amount numeric(24,9) NOT NULL,
    reference text NOT NULL,
    note text,
    occurred_at timestamptz NOT NULL,
    booked_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT cash_movement_has_the_sign_of_its_kind CHECK (
CASE kind
    WHEN 'deposit'::cash_movement_kind THEN (amount > 0)
    WHEN 'withdrawal'::cash_movement_kind THEN (amount < 0)
    WHEN 'fee'::cash_movement_kind THEN (amount < 0)
    ELSE (amount <> 0)
END),
    CONSTRAINT cash_movement_is_finite CHECK (((amount > '-Infinity'::numeric) AND (amount < 'Infinity'::numeric)))
);

ALTER TABLE cash_movements ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE corporate_actions (
    id bigint NOT NULL,
    kind corporate_action_kind NOT NULL,
    symbol text NOT NULL,
    session date NOT NULL,
    effective_at timestamptz NOT NULL,
    paid_at timestamptz,
    due_at timestamptz GENERATED ALWAYS AS (COALESCE(paid_at, effective_at)) STORED NOT NULL,
    new_units numeric(20,9),
    old_units numeric(20,9),
    fraction_price numeric(20,9),
    cash_per_unit numeric(20,9),
    is_special boolean DEFAULT false NOT NULL,
    new_symbol text,
    source text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    applied_at timestamptz,
    withdrawn_at timestamptz,
    withdrawn_by text,
    withdrawn_reason text,
    CONSTRAINT a_dividend_pays CHECK (((kind <> 'dividend'::corporate_action_kind) OR ((cash_per_unit IS NOT NULL) AND (cash_per_unit > 0)))),
    CONSTRAINT a_split_has_a_ratio CHECK ((((kind = 'split'::corporate_action_kind) = (new_units IS NOT NULL)) AND ((new_units IS NULL) = (old_units IS NULL)))),
    CONSTRAINT a_symbol_change_names_another_symbol CHECK ((((kind = 'symbol_change'::corporate_action_kind) = (new_symbol IS NOT NULL)) AND ((new_symbol IS NULL) OR (new_symbol <> symbol)))),
    CONSTRAINT cash_per_unit_is_not_negative CHECK (((cash_per_unit IS NULL) OR ((kind = ANY (ARRAY['dividend'::corporate_action_kind, 'delisting'::corporate_action_kind])) AND (cash_per_unit >= 0)))),
    CONSTRAINT corporate_action_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[new_units, old_units, fraction_price, cash_per_unit]))),
    CONSTRAINT only_a_dividend_is_paid_later CHECK (((paid_at IS NULL) OR ((kind = 'dividend'::corporate_action_kind) AND (paid_at >= effective_at)))),
    CONSTRAINT only_a_dividend_is_special CHECK (((NOT is_special) OR (kind = 'dividend'::corporate_action_kind))),
    CONSTRAINT only_a_split_leaves_fractions CHECK (((fraction_price IS NULL) OR ((kind = 'split'::corporate_action_kind) AND (fraction_price > 0)))),
    CONSTRAINT split_units_are_positive_and_differ CHECK (((new_units > 0) AND (old_units > 0) AND (new_units <> old_units))),
    CONSTRAINT withdrawn_with_actor_and_reason_or_not_at_all CHECK ((((withdrawn_at IS NULL) AND (withdrawn_by IS NULL) AND (withdrawn_reason IS NULL)) OR ((withdrawn_at IS NOT NULL) AND (COALESCE(withdrawn_by, ''::text) <> ''::text) AND (COALESCE(withdrawn_reason, ''::text) <> ''::text))))
);

ALTER TABLE corporate_actions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE decisions (
    id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    strategy_id bigint,
    tick timestamptz NOT NULL,
    session date NOT NULL,
    equity numeric(24,9) NOT NULL,
    cash numeric(24,9) NOT NULL,
    signals jsonb NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT decision_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[equity, cash])))
);

ALTER TABLE decisions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE discrepancies (
    id bigint NOT NULL,
    broker_account_id bigint NOT NULL,
    symbol text,
    ours numeric(24,9) NOT NULL,
    brokers numeric(24,9) NOT NULL,
    difference numeric(24,9) GENERATED ALWAYS AS ((brokers - ours)) STORED,
    cause adjustment_cause NOT NULL,
    resolution discrepancy_resolution NOT NULL,
    run_id text NOT NULL,
    found_at timestamptz NOT NULL,
    evidence text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT a_discrepancy_differs CHECK ((ours <> brokers)),
    CONSTRAINT discrepancy_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[ours, brokers])))
);

ALTER TABLE discrepancies ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE fills (
    id bigint NOT NULL,
    trade_id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    broker_account_id bigint NOT NULL,
    broker_execution_id text,
    symbol text NOT NULL,
    side trade_side NOT NULL,
    quantity numeric(20,9) NOT NULL,
    price numeric(20,9) NOT NULL,
    fee numeric(20,9) DEFAULT 0 NOT NULL,
    cumulative_quantity numeric(20,9) NOT NULL,
    executed_at timestamptz NOT NULL,
    is_late boolean DEFAULT false NOT NULL,
    booked_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT fill_fee_is_finite CHECK (((fee > '-Infinity'::numeric) AND (fee < 'Infinity'::numeric))),
    CONSTRAINT fill_is_within_its_cumulative_quantity CHECK ((cumulative_quantity >= quantity)),
    CONSTRAINT fill_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, cumulative_quantity]))),
    CONSTRAINT fill_price_is_positive CHECK (((price > 0) AND (price < 'Infinity'::numeric))),
    CONSTRAINT fill_quantity_is_positive CHECK ((quantity > 0))
);

ALTER TABLE fills ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE halts (
    id bigint NOT NULL,
    portfolio_id bigint,
    level halt_level NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    halted_at timestamptz NOT NULL,
    resumed_at timestamptz,
    resumed_by text,
    resumed_reason text,
    CONSTRAINT halt_has_a_reason CHECK ((reason <> ''::text)),
    CONSTRAINT resumed_with_actor_and_reason_or_not_at_all CHECK ((((resumed_at IS NULL) AND (resumed_by IS NULL) AND (resumed_reason IS NULL)) OR ((resumed_at IS NOT NULL) AND (COALESCE(resumed_by, ''::text) <> ''::text) AND (COALESCE(resumed_reason, ''::text) <> ''::text))))
);

ALTER TABLE halts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE instruments (
    symbol text NOT NULL,
    name text,
    is_tradable boolean DEFAULT true NOT NULL,
    is_fractionable boolean DEFAULT true NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT symbol_is_upper_case CHECK ((symbol ~ '^[A-Z0-9][A-Z0-9./-]{0,15}$'::text))
);

CREATE TABLE job_executions (
    id bigint NOT NULL,
    job_type job_type NOT NULL,
    run_id text NOT NULL,
    triggered_by execution_trigger NOT NULL,
    tick timestamptz NOT NULL,
    session date,
    execution_status execution_status NOT NULL,
    is_probe boolean DEFAULT false NOT NULL,
    lease_until timestamptz,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    duration_ms numeric(14,3) GENERATED ALWAYS AS ((EXTRACT(epoch FROM (finished_at - started_at)) * (1000)::numeric)) STORED,
    counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    skip_reason text,
    error_class text,
    error_message text,
    folded_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    worker text,
    CONSTRAINT failed_has_an_error CHECK (((execution_status = 'failed'::execution_status) = (error_message IS NOT NULL))),
    CONSTRAINT finished_has_finished_at CHECK (((execution_status = 'started'::execution_status) = (finished_at IS NULL))),
    CONSTRAINT finished_is_not_before_started CHECK ((finished_at >= started_at)),
    CONSTRAINT skipped_has_a_reason CHECK (((execution_status = 'skipped'::execution_status) = (skip_reason IS NOT NULL))),
    CONSTRAINT started_holds_a_lease CHECK (((execution_status = 'started'::execution_status) = (lease_until IS NOT NULL)))
);

ALTER TABLE job_executions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE job_setting_changes (
    id bigint NOT NULL,
    job_type job_type NOT NULL,
    setting text NOT NULL,
    old_value integer,
    new_value integer,
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT setting_change_changes_the_value CHECK ((old_value IS DISTINCT FROM new_value)),
    CONSTRAINT setting_change_has_actor_and_reason CHECK (((actor <> ''::text) AND (reason <> ''::text)))
);

ALTER TABLE job_setting_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE live_permissions (
    id bigint NOT NULL,
    broker text NOT NULL,
    account_number text NOT NULL,
    reason text NOT NULL,
    allowed_by text NOT NULL,
    allowed_at timestamptz NOT NULL,
    revoked_by text,
    revoked_reason text,
    revoked_at timestamptz,
    CONSTRAINT permission_has_number_actor_and_reason CHECK (((account_number <> ''::text) AND (reason <> ''::text) AND (allowed_by <> ''::text))),
    CONSTRAINT revoked_with_actor_and_reason_or_not_at_all CHECK ((((revoked_at IS NULL) AND (revoked_by IS NULL) AND (revoked_reason IS NULL)) OR ((revoked_at IS NOT NULL) AND (COALESCE(revoked_by, ''::text) <> ''::text) AND (COALESCE(revoked_reason, ''::text) <> ''::text))))
);

ALTER TABLE live_permissions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE notification_channels (
    name text NOT NULL,
    served_at timestamptz NOT NULL
);

CREATE TABLE notification_deliveries (
    notification_id bigint NOT NULL,
    channel text NOT NULL,
    status delivery_status DEFAULT 'waiting'::delivery_status NOT NULL,
    message_id uuid,
    attempts integer DEFAULT 0 NOT NULL,
    is_in_doubt boolean DEFAULT false NOT NULL,
    due_at timestamptz NOT NULL,
    sent_at timestamptz,
    last_error text,
    CONSTRAINT attempted_with_a_message CHECK (((attempts > 0) = (message_id IS NOT NULL))),
    CONSTRAINT sent_with_its_time_or_not_at_all CHECK (((status = 'sent'::delivery_status) = (sent_at IS NOT NULL)))
)
WITH (fillfactor='70');

CREATE TABLE notifications (
    id bigint NOT NULL,
    severity notification_severity NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    body text DEFAULT ''::text NOT NULL,
    portfolio_id bigint,
    dedupe_key text NOT NULL,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    routed_at timestamptz
);

ALTER TABLE notifications ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE portfolio_snapshot_positions (
    portfolio_id bigint NOT NULL,
    session date NOT NULL,
    symbol text NOT NULL,
    quantity numeric(20,9) NOT NULL,
    average_cost numeric(20,9) NOT NULL,
    close numeric(20,9) NOT NULL,
    value numeric(24,9) NOT NULL,
    close_session date NOT NULL,
    close_age integer NOT NULL,
    CONSTRAINT a_close_of_another_session_says_how_old_it_is CHECK (((close_age >= 0) AND (close_session <= session) AND ((close_age = 0) = (close_session = session)))),
    CONSTRAINT a_snapshot_lists_no_flat_position CHECK ((quantity <> 0)),
    CONSTRAINT snapshot_position_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, average_cost, close]))),
    CONSTRAINT value_is_quantity_times_close CHECK ((value = round((quantity * close), 9)))
);

CREATE TABLE portfolio_snapshots (
    portfolio_id bigint NOT NULL,
    session date NOT NULL,
    cash numeric(24,9) NOT NULL,
    positions_value numeric(24,9) NOT NULL,
    total_value numeric(24,9) NOT NULL,
    position_count integer NOT NULL,
    net_deposits numeric(24,9) NOT NULL,
    daily_return numeric(20,12),
    total_return numeric(20,12),
    valued_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    gross_value numeric(24,9) NOT NULL,
    stale_since timestamptz,
    stale_reason text,
    exposure numeric GENERATED ALWAYS AS (
CASE
    WHEN ((cash + positions_value) > 0) THEN round((gross_value / (cash + positions_value)), 12)
    ELSE NULL::numeric
END) STORED,
    CONSTRAINT gross_value_is_not_below_the_net CHECK ((gross_value >= abs(positions_value))),
    CONSTRAINT position_count_is_not_negative CHECK ((position_count >= 0)),
    CONSTRAINT snapshot_gross_value_is_not_nan CHECK ((gross_value <> 'NaN'::numeric)),
    CONSTRAINT snapshot_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[cash, positions_value, net_deposits, daily_return, total_return]))),
    CONSTRAINT stale_with_a_reason_or_not_at_all CHECK (((stale_since IS NULL) = (stale_reason IS NULL))),
    CONSTRAINT total_is_cash_plus_positions CHECK ((total_value = (cash + positions_value)))
);

CREATE TABLE portfolios (
    id bigint NOT NULL,
    broker_account_id bigint NOT NULL,
    name text NOT NULL,
    currency text DEFAULT 'USD'::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    max_position_pct numeric(9,6) DEFAULT 0.25 NOT NULL,
    max_positions integer DEFAULT 10 NOT NULL,
    stop_loss_pct numeric(9,6),
    take_profit_pct numeric(9,6),
    max_daily_loss_pct numeric(9,6) DEFAULT 0.05,
    min_cash_pct numeric(9,6) DEFAULT 0.02 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    max_drawdown_pct numeric(9,6),
    CONSTRAINT max_daily_loss_pct_is_a_fraction CHECK (((max_daily_loss_pct > 0) AND (max_daily_loss_pct < (1)::numeric))),
    CONSTRAINT max_drawdown_pct_is_a_fraction CHECK (((max_drawdown_pct > 0) AND (max_drawdown_pct < (1)::numeric))),
    CONSTRAINT max_position_pct_is_a_fraction CHECK (((max_position_pct > 0) AND (max_position_pct <= (1)::numeric))),
    CONSTRAINT max_positions_is_positive CHECK ((max_positions > 0)),
    CONSTRAINT min_cash_pct_is_a_fraction CHECK (((min_cash_pct >= 0) AND (min_cash_pct < (1)::numeric))),
    CONSTRAINT portfolio_name_is_a_slug CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'::text)),
    CONSTRAINT portfolio_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[take_profit_pct]))),
    CONSTRAINT stop_loss_pct_is_a_fraction CHECK (((stop_loss_pct > 0) AND (stop_loss_pct < (1)::numeric))),
    CONSTRAINT take_profit_pct_is_positive CHECK ((take_profit_pct > 0))
);

ALTER TABLE portfolios ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE positions (
    portfolio_id bigint NOT NULL,
    symbol text NOT NULL,
    quantity numeric(20,9) NOT NULL,
    average_cost numeric(20,9) NOT NULL,
    realised_pnl numeric(24,9) NOT NULL,
    last_fill_id bigint,
    last_entry_at timestamptz NOT NULL,
    market_price numeric(20,9),
    market_value numeric(24,9) GENERATED ALWAYS AS ((quantity * market_price)) STORED,
    unrealised_pnl numeric(24,9) GENERATED ALWAYS AS ((quantity * (market_price - average_cost))) STORED,
    marked_at timestamptz,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT a_flat_position_has_no_cost CHECK (((quantity <> 0) OR (average_cost = 0))),
    CONSTRAINT average_cost_is_not_negative CHECK ((average_cost >= 0)),
    CONSTRAINT position_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, average_cost, realised_pnl, market_price])))
)
WITH (fillfactor='50');

CREATE TABLE price_alerts (
    id bigint NOT NULL,
    symbol text NOT NULL,
    condition alert_condition NOT NULL,
    threshold numeric(20,9) NOT NULL,
    reference_price numeric(20,9),
    status alert_status DEFAULT 'active'::alert_status NOT NULL,
    note text,
    triggered_at timestamptz,
    triggered_price numeric(20,9),
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    disabled_by bigint,
    CONSTRAINT alert_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[reference_price, triggered_price]))),
    CONSTRAINT alert_reference_is_positive CHECK ((reference_price > 0)),
    CONSTRAINT alert_threshold_is_positive CHECK (((threshold > 0) AND (threshold < 'Infinity'::numeric))),
    CONSTRAINT only_a_disabled_alert_was_disabled_by_an_action CHECK (((disabled_by IS NULL) OR (status = 'disabled'::alert_status))),
    CONSTRAINT percent_change_has_a_reference CHECK (((condition = 'percent_change'::alert_condition) = (reference_price IS NOT NULL))),
    CONSTRAINT triggered_with_time_and_price_or_not_at_all CHECK ((((status = 'triggered'::alert_status) = (triggered_at IS NOT NULL)) AND ((triggered_at IS NULL) = (triggered_price IS NULL))))
);

ALTER TABLE price_alerts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE SEQUENCE price_batch_sequence
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE quotes (
    symbol text NOT NULL,
    price numeric(20,9) NOT NULL,
    bid numeric(20,9),
    ask numeric(20,9),
    previous_close numeric(20,9),
    quoted_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    source text NOT NULL,
    CONSTRAINT quote_ask_is_positive CHECK ((ask > 0)),
    CONSTRAINT quote_bid_is_positive CHECK ((bid > 0)),
    CONSTRAINT quote_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[bid, ask, previous_close]))),
    CONSTRAINT quote_previous_close_is_positive CHECK ((previous_close > 0)),
    CONSTRAINT quote_price_is_positive CHECK (((price > 0) AND (price < 'Infinity'::numeric)))
)
WITH (fillfactor='50');

CREATE TABLE scheduled_jobs (
    job_type job_type NOT NULL,
    job_status job_status DEFAULT 'enabled'::job_status NOT NULL,
    is_scheduled boolean GENERATED ALWAYS AS ((scheduled_since IS NOT NULL)) STORED NOT NULL,
    scheduled_since timestamptz,
    failure_threshold integer NOT NULL,
    probe_successes integer NOT NULL,
    wait_base_s integer NOT NULL,
    wait_cap_s integer NOT NULL,
    stale_after_s integer,
    lease_s integer NOT NULL,
    missed_after_s integer NOT NULL,
    consecutive_failures integer DEFAULT 0 NOT NULL,
    half_open_successes integer DEFAULT 0 NOT NULL,
    open_count integer DEFAULT 0 NOT NULL,
    opened_at timestamptz,
    retry_at timestamptz,
    closed_at timestamptz,
    recent_outcomes boolean[] DEFAULT '{}'::boolean[] NOT NULL,
    needs_person boolean DEFAULT false NOT NULL,
    probe_run_id text,
    run_count bigint DEFAULT 0 NOT NULL,
    success_count bigint DEFAULT 0 NOT NULL,
    failure_count bigint DEFAULT 0 NOT NULL,
    average_duration_ms numeric(14,3),
    last_run_at timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_error text,
    missed_since timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT an_open_breaker_retries_or_waits_for_a_person CHECK (((job_status <> 'error'::job_status) OR (retry_at IS NOT NULL) OR needs_person)),
    CONSTRAINT counters_are_not_negative CHECK (((consecutive_failures >= 0) AND (half_open_successes >= 0) AND (open_count >= 0) AND (run_count >= 0) AND (success_count >= 0) AND (failure_count >= 0))),
    CONSTRAINT failure_threshold_is_positive CHECK ((failure_threshold > 0)),
    CONSTRAINT job_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[average_duration_ms]))),
    CONSTRAINT lease_is_positive CHECK ((lease_s > 0)),
    CONSTRAINT missed_after_is_positive CHECK ((missed_after_s > 0)),
    CONSTRAINT probe_successes_is_positive CHECK ((probe_successes > 0)),
    CONSTRAINT recent_outcomes_are_at_most_20 CHECK ((cardinality(recent_outcomes) <= 20)),
    CONSTRAINT stale_after_is_positive CHECK ((stale_after_s > 0)),
    CONSTRAINT waits_are_positive_and_ordered CHECK (((wait_base_s > 0) AND (wait_cap_s >= wait_base_s)))
);

CREATE TABLE schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE strategies (
    id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    name text NOT NULL,
    definition jsonb NOT NULL,
    is_enabled boolean DEFAULT true NOT NULL,
    last_error text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT strategy_name_is_a_slug CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'::text))
);

ALTER TABLE strategies ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

CREATE TABLE trades (
    id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    broker_account_id bigint NOT NULL,
    decision_id bigint NOT NULL,
    symbol text NOT NULL,
    side trade_side NOT NULL,
    order_type order_type NOT NULL,
    time_in_force time_in_force NOT NULL,
    quantity numeric(20,9) NOT NULL,
    limit_price numeric(20,9),
    stop_price numeric(20,9),
    client_order_id text NOT NULL,
    reserved_cash numeric(24,9) DEFAULT 0 NOT NULL,
    reason text NOT NULL,
    status trade_status DEFAULT 'pending'::trade_status NOT NULL,
    status_reason text,
    broker_order_id text,
    filled_quantity numeric(20,9) DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    lease_until timestamptz,
    decided_at timestamptz NOT NULL,
    submitted_at timestamptz,
    finalized_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    is_entry boolean DEFAULT false NOT NULL,
    CONSTRAINT client_order_id_is_short_and_plain CHECK ((client_order_id ~ '^[A-Za-z0-9_-]{1,48}$'::text)),
    CONSTRAINT filled_means_the_whole_quantity CHECK (((status <> 'filled'::trade_status) OR (filled_quantity = quantity))),
    CONSTRAINT filled_quantity_is_within_quantity CHECK (((filled_quantity >= 0) AND (filled_quantity <= quantity))),
    CONSTRAINT final_has_finalized_at CHECK (((status = ANY (ARRAY['filled'::trade_status, 'cancelled'::trade_status, 'expired'::trade_status, 'rejected'::trade_status])) = (finalized_at IS NOT NULL))),
    CONSTRAINT limit_price_is_positive CHECK ((limit_price > 0)),
    CONSTRAINT limit_price_where_the_type_needs_it CHECK (((order_type = ANY (ARRAY['limit'::order_type, 'stop_limit'::order_type])) = (limit_price IS NOT NULL))),
    CONSTRAINT reserved_cash_is_not_negative CHECK ((reserved_cash >= 0)),
    CONSTRAINT stop_price_is_positive CHECK ((stop_price > 0)),
    CONSTRAINT stop_price_where_the_type_needs_it CHECK (((order_type = ANY (ARRAY['stop'::order_type, 'stop_limit'::order_type])) = (stop_price IS NOT NULL))),
    CONSTRAINT submitting_holds_a_lease CHECK (((status = 'submitting'::trade_status) = (lease_until IS NOT NULL))),
    CONSTRAINT the_broker_has_what_is_submitted CHECK (((status <> ALL (ARRAY['submitted'::trade_status, 'partially_filled'::trade_status, 'filled'::trade_status])) OR (broker_order_id IS NOT NULL))),
    CONSTRAINT trade_numbers_are_not_nan CHECK (('NaN'::numeric <> ALL (ARRAY[quantity, limit_price, stop_price, reserved_cash]))),
    CONSTRAINT trade_quantity_is_positive CHECK ((quantity > 0))
);

ALTER TABLE trades ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

ALTER TABLE ONLY paper.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (account_number);

ALTER TABLE ONLY paper.action_entries
    ADD CONSTRAINT action_entries_pkey PRIMARY KEY (account_number, corporate_action_id, number);

ALTER TABLE ONLY paper.applied_actions
    ADD CONSTRAINT applied_actions_pkey PRIMARY KEY (account_number, corporate_action_id);

ALTER TABLE ONLY paper.orders
    ADD CONSTRAINT client_order_id_is_unique UNIQUE (account_number, client_order_id);

ALTER TABLE ONLY paper.executions
    ADD CONSTRAINT executions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY paper.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY paper.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (account_number, symbol);

ALTER TABLE ONLY paper.prices
    ADD CONSTRAINT prices_pkey PRIMARY KEY (account_number, symbol);

ALTER TABLE ONLY paper.transfers
    ADD CONSTRAINT transfers_pkey PRIMARY KEY (account_number, reference);

ALTER TABLE ONLY adjustments
    ADD CONSTRAINT adjustments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY bar_acceptances
    ADD CONSTRAINT bar_acceptances_pkey PRIMARY KEY (symbol, session);

ALTER TABLE ONLY bar_revisions
    ADD CONSTRAINT bar_revisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY bars
    ADD CONSTRAINT bars_pkey PRIMARY KEY (symbol, timeframe, starts_at);

ALTER TABLE ONLY breaker_events
    ADD CONSTRAINT breaker_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY broker_accounts
    ADD CONSTRAINT broker_accounts_broker_environment_account_number_key UNIQUE (broker, environment, account_number);

ALTER TABLE ONLY broker_accounts
    ADD CONSTRAINT broker_accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY cash_balances
    ADD CONSTRAINT cash_balances_pkey PRIMARY KEY (portfolio_id);

ALTER TABLE ONLY cash_movements
    ADD CONSTRAINT cash_movements_pkey PRIMARY KEY (id);

ALTER TABLE ONLY corporate_actions
    ADD CONSTRAINT corporate_actions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY discrepancies
    ADD CONSTRAINT discrepancies_pkey PRIMARY KEY (id);

ALTER TABLE ONLY fills
    ADD CONSTRAINT fills_pkey PRIMARY KEY (id);

ALTER TABLE ONLY halts
    ADD CONSTRAINT halts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY instruments
    ADD CONSTRAINT instruments_pkey PRIMARY KEY (symbol);

ALTER TABLE ONLY job_executions
    ADD CONSTRAINT job_executions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY job_setting_changes
    ADD CONSTRAINT job_setting_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY live_permissions
    ADD CONSTRAINT live_permissions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY notification_channels
    ADD CONSTRAINT notification_channels_pkey PRIMARY KEY (name);

ALTER TABLE ONLY notification_deliveries
    ADD CONSTRAINT notification_deliveries_pkey PRIMARY KEY (notification_id, channel);

ALTER TABLE ONLY notifications
    ADD CONSTRAINT notifications_dedupe_key_key UNIQUE (dedupe_key);

ALTER TABLE ONLY notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY cash_movements
    ADD CONSTRAINT one_cash_movement_per_reference UNIQUE (portfolio_id, reference);

ALTER TABLE ONLY decisions
    ADD CONSTRAINT one_decision_per_portfolio_strategy_and_tick UNIQUE NULLS NOT DISTINCT (portfolio_id, strategy_id, tick);

ALTER TABLE ONLY job_executions
    ADD CONSTRAINT one_execution_per_run_and_job UNIQUE (run_id, job_type);

ALTER TABLE ONLY portfolio_snapshot_positions
    ADD CONSTRAINT portfolio_snapshot_positions_pkey PRIMARY KEY (portfolio_id, session, symbol);

ALTER TABLE ONLY portfolio_snapshots
    ADD CONSTRAINT portfolio_snapshots_pkey PRIMARY KEY (portfolio_id, session);

ALTER TABLE ONLY portfolios
    ADD CONSTRAINT portfolios_name_key UNIQUE (name);

ALTER TABLE ONLY portfolios
    ADD CONSTRAINT portfolios_pkey PRIMARY KEY (id);

ALTER TABLE ONLY positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (portfolio_id, symbol);

ALTER TABLE ONLY price_alerts
    ADD CONSTRAINT price_alerts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY quotes
    ADD CONSTRAINT quotes_pkey PRIMARY KEY (symbol);

ALTER TABLE ONLY scheduled_jobs
    ADD CONSTRAINT scheduled_jobs_pkey PRIMARY KEY (job_type);

ALTER TABLE ONLY schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY strategies
    ADD CONSTRAINT strategies_pkey PRIMARY KEY (id);

ALTER TABLE ONLY strategies
    ADD CONSTRAINT strategies_portfolio_id_name_key UNIQUE (portfolio_id, name);

ALTER TABLE ONLY trades
    ADD CONSTRAINT trades_client_order_id_key UNIQUE (client_order_id);

ALTER TABLE ONLY trades
    ADD CONSTRAINT trades_pkey PRIMARY KEY (id);

CREATE INDEX action_entries_by_symbol ON paper.action_entries USING btree (account_number, symbol, occurred_at);

CREATE INDEX open_paper_orders ON paper.orders USING btree (account_number, symbol, number) WHERE (status = ANY (ARRAY['accepted'::paper.order_status, 'partially_filled'::paper.order_status]));

CREATE INDEX paper_executions_by_time ON paper.executions USING btree (account_number, executed_at, number);

CREATE INDEX paper_orders_by_submission ON paper.orders USING btree (account_number, submitted_at, number);

CREATE UNIQUE INDEX a_broker_execution_is_booked_once ON fills USING btree (broker_account_id, broker_execution_id) WHERE (broker_execution_id IS NOT NULL);

CREATE UNIQUE INDEX a_corporate_action_is_applied_once ON adjustments USING btree (corporate_action_id, portfolio_id, symbol, keeps_cost, revision) WHERE (corporate_action_id IS NOT NULL);

CREATE UNIQUE INDEX a_corporate_action_is_entered_once ON corporate_actions USING btree (symbol, kind, session, is_special) WHERE (withdrawn_at IS NULL);

CREATE UNIQUE INDEX a_fill_without_identity_is_booked_once ON fills USING btree (trade_id, cumulative_quantity) WHERE (broker_execution_id IS NULL);

CREATE INDEX active_alerts_by_symbol ON price_alerts USING btree (symbol) WHERE (status = 'active'::alert_status);

CREATE INDEX adjustments_by_portfolio_and_time ON adjustments USING btree (portfolio_id, occurred_at);

CREATE INDEX adjustments_by_position ON adjustments USING btree (portfolio_id, symbol, occurred_at, id) WHERE (symbol IS NOT NULL);

CREATE INDEX bar_revisions_by_bar ON bar_revisions USING btree (symbol, timeframe, session, id);

CREATE INDEX bars_by_session ON bars USING btree (timeframe, session, starts_at, symbol);

CREATE INDEX breaker_events_by_job ON breaker_events USING btree (job_type, id);

CREATE INDEX breaker_events_by_run ON breaker_events USING btree (run_id);

CREATE INDEX cash_movements_by_portfolio_and_time ON cash_movements USING btree (portfolio_id, occurred_at);

CREATE INDEX corporate_actions_by_symbol ON corporate_actions USING btree (symbol, session) WHERE (withdrawn_at IS NULL);

CREATE INDEX corporate_actions_to_apply ON corporate_actions USING btree (due_at) WHERE ((applied_at IS NULL) AND (withdrawn_at IS NULL));

CREATE INDEX discrepancies_by_account ON discrepancies USING btree (broker_account_id, id);

CREATE INDEX discrepancies_by_run ON discrepancies USING btree (run_id);

CREATE INDEX executions_not_folded ON job_executions USING btree (id) WHERE (folded_at IS NULL);

CREATE INDEX fills_by_portfolio_and_time ON fills USING btree (portfolio_id, executed_at);

CREATE INDEX fills_by_trade ON fills USING btree (trade_id);

CREATE INDEX fills_in_execution_order ON fills USING btree (portfolio_id, symbol, executed_at, id);

CREATE INDEX held_positions_by_symbol ON positions USING btree (symbol) WHERE (quantity <> 0);

CREATE INDEX job_executions_by_job_and_start ON job_executions USING btree (job_type, started_at DESC);

CREATE INDEX job_executions_by_job_and_tick ON job_executions USING btree (job_type, tick DESC);

CREATE INDEX job_setting_changes_by_job ON job_setting_changes USING btree (job_type, id);

CREATE INDEX notifications_by_creation ON notifications USING btree (created_at);

CREATE INDEX notifications_by_time ON notifications USING btree (occurred_at);

CREATE UNIQUE INDEX one_active_halt_per_portfolio ON halts USING btree (portfolio_id) NULLS NOT DISTINCT WHERE (resumed_at IS NULL);

CREATE UNIQUE INDEX one_daily_bar_per_symbol_and_session ON bars USING btree (symbol, session) WHERE (timeframe = 'day'::bar_timeframe);

CREATE UNIQUE INDEX one_execution_per_job_and_tick ON job_executions USING btree (job_type, tick) WHERE ((execution_status = ANY (ARRAY['started'::execution_status, 'completed'::execution_status])) AND (triggered_by = ANY (ARRAY['schedule'::execution_trigger, 'replay'::execution_trigger])));

CREATE UNIQUE INDEX one_live_permission_in_force_per_account ON live_permissions USING btree (broker, account_number) WHERE (revoked_at IS NULL);

CREATE UNIQUE INDEX one_running_execution_per_job ON job_executions USING btree (job_type) WHERE (execution_status = 'started'::execution_status);

CREATE UNIQUE INDEX one_trade_per_broker_order ON trades USING btree (broker_account_id, broker_order_id) WHERE (broker_order_id IS NOT NULL);

CREATE INDEX open_deliveries ON notification_deliveries USING btree (channel, due_at) WHERE (status = ANY (ARRAY['waiting'::delivery_status, 'sending'::delivery_status]));

CREATE INDEX open_deliveries_by_message ON notification_deliveries USING btree (message_id) WHERE (status = ANY (ARRAY['waiting'::delivery_status, 'sending'::delivery_status]));

CREATE INDEX open_trades ON trades USING btree (broker_account_id, portfolio_id, symbol, id) WHERE (status = ANY (ARRAY['pending'::trade_status, 'submitting'::trade_status, 'submitted'::trade_status, 'partially_filled'::trade_status]));

CREATE INDEX portfolio_snapshots_by_session ON portfolio_snapshots USING btree (session);

CREATE INDEX portfolios_by_broker_account ON portfolios USING btree (broker_account_id);

CREATE INDEX revised_closes ON bar_revisions USING btree (revised_at) WHERE ((timeframe = 'day'::bar_timeframe) AND (old_close <> new_close));

CREATE INDEX sent_deliveries_by_time ON notification_deliveries USING btree (channel, sent_at) WHERE (status = 'sent'::delivery_status);

CREATE INDEX snapshot_positions_at_carried_closes ON portfolio_snapshot_positions USING btree (symbol, session) WHERE (close_age > 0);

CREATE INDEX stale_snapshots ON portfolio_snapshots USING btree (session, portfolio_id) WHERE (stale_since IS NOT NULL);

CREATE INDEX symbol_changes ON corporate_actions USING btree (new_symbol) WHERE (new_symbol IS NOT NULL);

CREATE INDEX trades_by_decision ON trades USING btree (decision_id);

CREATE INDEX trades_by_portfolio ON trades USING btree (portfolio_id, id);

CREATE INDEX unrouted_notifications ON notifications USING btree (id) WHERE (routed_at IS NULL);

CREATE TRIGGER a_final_trade_keeps_its_status BEFORE UPDATE OF status ON trades FOR EACH ROW WHEN (((old.finalized_at IS NOT NULL) AND (new.status <> old.status))) EXECUTE FUNCTION refuse_change_of_final_trade();

CREATE TRIGGER adjustments_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON adjustments FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER bar_revisions_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON bar_revisions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER breaker_events_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON breaker_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER cash_movements_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON cash_movements FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER corporate_actions_are_append_only BEFORE DELETE OR TRUNCATE ON corporate_actions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER corporate_actions_stay_as_entered BEFORE UPDATE ON corporate_actions FOR EACH ROW EXECUTE FUNCTION refuse_change_of_corporate_action();

CREATE TRIGGER corrected_bars_mark_snapshots AFTER UPDATE ON bars REFERENCING NEW TABLE AS changed_bars FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_other_closes();

CREATE TRIGGER decisions_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON decisions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER discrepancies_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON discrepancies FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER fills_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON fills FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER job_setting_changes_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON job_setting_changes FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

CREATE TRIGGER late_adjustments_mark_snapshots AFTER INSERT ON adjustments REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_late_adjustments();

CREATE TRIGGER late_fills_mark_snapshots AFTER INSERT ON fills REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_late_fills();

CREATE TRIGGER late_movements_mark_snapshots AFTER INSERT ON cash_movements REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_late_movements();

CREATE TRIGGER new_bars_mark_snapshots AFTER INSERT ON bars REFERENCING NEW TABLE AS changed_bars FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_other_closes();

CREATE TRIGGER removed_bars_mark_snapshots AFTER DELETE ON bars REFERENCING OLD TABLE AS changed_bars FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_other_closes();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON broker_accounts FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON cash_balances FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON instruments FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON job_executions FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON portfolio_snapshots FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON portfolios FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON positions FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON price_alerts FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON scheduled_jobs FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON strategies FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON trades FOR EACH ROW EXECUTE FUNCTION set_updated_at();

ALTER TABLE ONLY paper.action_entries
    ADD CONSTRAINT action_entries_account_number_corporate_action_id_fkey FOREIGN KEY (account_number, corporate_action_id) REFERENCES paper.applied_actions(account_number, corporate_action_id) ON DELETE CASCADE;

ALTER TABLE ONLY paper.applied_actions
    ADD CONSTRAINT applied_actions_account_number_fkey FOREIGN KEY (account_number) REFERENCES paper.accounts(account_number);

ALTER TABLE ONLY paper.applied_actions
    ADD CONSTRAINT applied_actions_corporate_action_id_fkey FOREIGN KEY (corporate_action_id) REFERENCES corporate_actions(id);

ALTER TABLE ONLY paper.executions
    ADD CONSTRAINT executions_account_number_fkey FOREIGN KEY (account_number) REFERENCES paper.accounts(account_number);

ALTER TABLE ONLY paper.executions
    ADD CONSTRAINT executions_order_id_fkey FOREIGN KEY (order_id) REFERENCES paper.orders(id);

ALTER TABLE ONLY paper.orders
    ADD CONSTRAINT orders_account_number_fkey FOREIGN KEY (account_number) REFERENCES paper.accounts(account_number);

ALTER TABLE ONLY paper.positions
    ADD CONSTRAINT positions_account_number_fkey FOREIGN KEY (account_number) REFERENCES paper.accounts(account_number);

ALTER TABLE ONLY paper.prices
    ADD CONSTRAINT prices_account_number_fkey FOREIGN KEY (account_number) REFERENCES paper.accounts(account_number);

ALTER TABLE ONLY paper.transfers
    ADD CONSTRAINT transfers_account_number_fkey FOREIGN KEY (account_number) REFERENCES paper.accounts(account_number);

ALTER TABLE ONLY adjustments
    ADD CONSTRAINT adjustments_corporate_action_id_fkey FOREIGN KEY (corporate_action_id) REFERENCES corporate_actions(id);

ALTER TABLE ONLY adjustments
    ADD CONSTRAINT adjustments_discrepancy_id_fkey FOREIGN KEY (discrepancy_id) REFERENCES discrepancies(id);

ALTER TABLE ONLY adjustments
    ADD CONSTRAINT adjustments_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY adjustments
    ADD CONSTRAINT adjustments_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY bar_acceptances
    ADD CONSTRAINT bar_acceptances_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY bar_revisions
    ADD CONSTRAINT bar_revisions_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY bars
    ADD CONSTRAINT bars_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY breaker_events
    ADD CONSTRAINT breaker_events_job_type_fkey FOREIGN KEY (job_type) REFERENCES scheduled_jobs(job_type);

ALTER TABLE ONLY cash_balances
    ADD CONSTRAINT cash_balances_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY cash_movements
    ADD CONSTRAINT cash_movements_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY corporate_actions
    ADD CONSTRAINT corporate_actions_new_symbol_fkey FOREIGN KEY (new_symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY corporate_actions
    ADD CONSTRAINT corporate_actions_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY decisions
    ADD CONSTRAINT decisions_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY decisions
    ADD CONSTRAINT decisions_strategy_id_fkey FOREIGN KEY (strategy_id) REFERENCES strategies(id);

ALTER TABLE ONLY discrepancies
    ADD CONSTRAINT discrepancies_broker_account_id_fkey FOREIGN KEY (broker_account_id) REFERENCES broker_accounts(id);

ALTER TABLE ONLY discrepancies
    ADD CONSTRAINT discrepancies_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY fills
    ADD CONSTRAINT fills_broker_account_id_fkey FOREIGN KEY (broker_account_id) REFERENCES broker_accounts(id);

ALTER TABLE ONLY fills
    ADD CONSTRAINT fills_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY fills
    ADD CONSTRAINT fills_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY fills
    ADD CONSTRAINT fills_trade_id_fkey FOREIGN KEY (trade_id) REFERENCES trades(id);

ALTER TABLE ONLY halts
    ADD CONSTRAINT halts_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY job_executions
    ADD CONSTRAINT job_executions_job_type_fkey FOREIGN KEY (job_type) REFERENCES scheduled_jobs(job_type);

ALTER TABLE ONLY job_setting_changes
    ADD CONSTRAINT job_setting_changes_job_type_fkey FOREIGN KEY (job_type) REFERENCES scheduled_jobs(job_type);

ALTER TABLE ONLY notification_deliveries
    ADD CONSTRAINT notification_deliveries_channel_fkey FOREIGN KEY (channel) REFERENCES notification_channels(name);

ALTER TABLE ONLY notification_deliveries
    ADD CONSTRAINT notification_deliveries_notification_id_fkey FOREIGN KEY (notification_id) REFERENCES notifications(id) ON DELETE CASCADE;

ALTER TABLE ONLY notifications
    ADD CONSTRAINT notifications_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY portfolio_snapshot_positions
    ADD CONSTRAINT portfolio_snapshot_positions_portfolio_id_session_fkey FOREIGN KEY (portfolio_id, session) REFERENCES portfolio_snapshots(portfolio_id, session) ON DELETE CASCADE;

ALTER TABLE ONLY portfolio_snapshot_positions
    ADD CONSTRAINT portfolio_snapshot_positions_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY portfolio_snapshots
    ADD CONSTRAINT portfolio_snapshots_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY portfolios
    ADD CONSTRAINT portfolios_broker_account_id_fkey FOREIGN KEY (broker_account_id) REFERENCES broker_accounts(id);

ALTER TABLE ONLY positions
    ADD CONSTRAINT positions_last_fill_id_fkey FOREIGN KEY (last_fill_id) REFERENCES fills(id);

ALTER TABLE ONLY positions
    ADD CONSTRAINT positions_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY positions
    ADD CONSTRAINT positions_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY price_alerts
    ADD CONSTRAINT price_alerts_disabled_by_fkey FOREIGN KEY (disabled_by) REFERENCES corporate_actions(id);

ALTER TABLE ONLY price_alerts
    ADD CONSTRAINT price_alerts_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY quotes
    ADD CONSTRAINT quotes_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);

ALTER TABLE ONLY strategies
    ADD CONSTRAINT strategies_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY trades
    ADD CONSTRAINT trades_broker_account_id_fkey FOREIGN KEY (broker_account_id) REFERENCES broker_accounts(id);

ALTER TABLE ONLY trades
    ADD CONSTRAINT trades_decision_id_fkey FOREIGN KEY (decision_id) REFERENCES decisions(id);

ALTER TABLE ONLY trades
    ADD CONSTRAINT trades_portfolio_id_fkey FOREIGN KEY (portfolio_id) REFERENCES portfolios(id);

ALTER TABLE ONLY trades
    ADD CONSTRAINT trades_symbol_fkey FOREIGN KEY (symbol) REFERENCES instruments(symbol);
