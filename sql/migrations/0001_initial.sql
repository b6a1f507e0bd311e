-- The whole database of a trading system: what is traded, by whom, what was decided, sent, filled and
-- worth, and which job did it. Money, prices and quantities are NUMERIC; instants are timestamptz (UTC);
-- a session is a date. A NUMERIC with a precision cannot be infinite, but it can be NaN, which PostgreSQL
-- holds to be greater than any number: hence the checks that name it.

-- ── Words ────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE job_type AS ENUM (
    'strategy_execution',
    'order_status_check',
    'position_sync',
    'price_update',
    'portfolio_snapshot',
    'alert_price_check'
);

-- A job's breaker, as a person reads it.
CREATE TYPE job_status AS ENUM (
    'enabled',      -- closed: runs
    'error',        -- open: skips until retry_at
    'probing',      -- half open: one probe run decides
    'disabled'      -- paused by a person
);

CREATE TYPE execution_status AS ENUM (
    'started',      -- holds the job's lease
    'completed',
    'failed',
    'skipped'       -- refused at admission, with a reason
);

CREATE TYPE execution_trigger AS ENUM ('schedule', 'manual', 'backfill', 'replay');

CREATE TYPE bar_timeframe AS ENUM ('day', 'minute');

CREATE TYPE broker_environment AS ENUM ('paper', 'live');

CREATE TYPE trade_side AS ENUM ('buy', 'sell');

CREATE TYPE order_type AS ENUM ('market', 'limit', 'stop', 'stop_limit');

CREATE TYPE time_in_force AS ENUM ('day', 'gtc');

CREATE TYPE trade_status AS ENUM (
    'pending',           -- decided; nothing was sent
    'submitting',        -- claimed: the broker may or may not have it
    'submitted',         -- the broker has it
    'partially_filled',
    'filled',            -- final
    'cancelled',         -- final
    'expired',           -- final
    'rejected'           -- final
);

CREATE TYPE cash_movement_kind AS ENUM ('deposit', 'withdrawal', 'dividend', 'interest', 'fee');

CREATE TYPE adjustment_cause AS ENUM (
    'fill_missed', 'manual_trade', 'split', 'dividend', 'fee', 'correction', 'unknown'
);

CREATE TYPE discrepancy_resolution AS ENUM (
    'adjusted',     -- our books were repaired
    'halted'        -- too large to repair unseen: trading was halted
);

CREATE TYPE alert_condition AS ENUM ('above', 'below', 'percent_change');

CREATE TYPE alert_status AS ENUM (
    'active',
    'triggered',    -- rests; it fires once
    'disabled'
);

CREATE TYPE notification_severity AS ENUM ('info', 'warning', 'critical');

CREATE TYPE halt_level AS ENUM (
    'no_new',       -- entries are blocked
    'cancel_open',  -- and open entry orders are cancelled
    'flatten'       -- and positions are closed
);

-- ── Rules that a row check cannot say ────────────────────────────────────────────────────────────────

CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_change_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Book an adjustment instead.';
END $$;

CREATE FUNCTION refuse_change_of_final_trade() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'trade % is % and cannot become %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'restrict_violation';
END $$;

-- ── Market ───────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE instruments (
    symbol          text        PRIMARY KEY,
    name            text,
    is_tradable     boolean     NOT NULL DEFAULT true,
    is_fractionable boolean     NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT symbol_is_upper_case CHECK (symbol ~ '^[A-Z0-9][A-Z0-9./-]{0,15}$')
);

-- A daily bar starts at its session's open and ends at its close; ends_at is when it is complete.
CREATE TABLE bars (
    symbol      text          NOT NULL REFERENCES instruments,
    timeframe   bar_timeframe NOT NULL,
    starts_at   timestamptz   NOT NULL,
    ends_at     timestamptz   NOT NULL,
    session     date          NOT NULL,
    open        numeric(20,9) NOT NULL,
    high        numeric(20,9) NOT NULL,
    low         numeric(20,9) NOT NULL,
    close       numeric(20,9) NOT NULL,
    volume      numeric(24,9) NOT NULL,
    source      text          NOT NULL,
    imported_at timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, starts_at),
    CONSTRAINT bar_ends_after_it_starts CHECK (ends_at > starts_at),
    CONSTRAINT bar_prices_are_positive CHECK (low > 0),
    CONSTRAINT bar_low_and_high_bound_open_and_close CHECK (
        low <= open AND low <= close AND high >= open AND high >= close),
    CONSTRAINT bar_prices_are_finite CHECK (high < 'Infinity'),
    CONSTRAINT bar_volume_is_not_negative CHECK (volume >= 0 AND volume < 'Infinity')
);
CREATE UNIQUE INDEX one_daily_bar_per_symbol_and_session ON bars (symbol, session) WHERE timeframe = 'day';
CREATE INDEX bars_by_session ON bars (timeframe, session, starts_at, symbol);

-- The newest price of each symbol; older data never overwrites newer.
CREATE TABLE quotes (
    symbol         text          PRIMARY KEY REFERENCES instruments,
    price          numeric(20,9) NOT NULL,
    bid            numeric(20,9),
    ask            numeric(20,9),
    previous_close numeric(20,9),
    quoted_at      timestamptz   NOT NULL,
    received_at    timestamptz   NOT NULL,
    source         text          NOT NULL,
    CONSTRAINT quote_price_is_positive CHECK (price > 0 AND price < 'Infinity'),
    CONSTRAINT quote_bid_is_positive CHECK (bid > 0),
    CONSTRAINT quote_ask_is_positive CHECK (ask > 0),
    CONSTRAINT quote_previous_close_is_positive CHECK (previous_close > 0),
    CONSTRAINT quote_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[bid, ask, previous_close]))
) WITH (fillfactor = 50);

-- Numbers the batches of changed prices that the stream sends out.
CREATE SEQUENCE price_batch_sequence;

-- ── Portfolios ───────────────────────────────────────────────────────────────────────────────────────

-- Several portfolios may share one account; its books are compared with the broker's as a sum.
CREATE TABLE broker_accounts (
    id                    bigint             PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    broker                text               NOT NULL,
    account_number        text               NOT NULL,
    environment           broker_environment NOT NULL,
    executions_read_until timestamptz,
    reconciled_at         timestamptz,
    created_at            timestamptz        NOT NULL DEFAULT now(),
    updated_at            timestamptz        NOT NULL DEFAULT now(),
    UNIQUE (broker, environment, account_number)
);

CREATE TABLE portfolios (
    id                 bigint        PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    broker_account_id  bigint        NOT NULL REFERENCES broker_accounts,
    name               text          NOT NULL UNIQUE,
    currency           text          NOT NULL DEFAULT 'USD',
    is_active          boolean       NOT NULL DEFAULT true,
    -- Limits are fractions of equity: 0.25 is a quarter. NULL is no limit.
    max_position_pct   numeric(9,6)  NOT NULL DEFAULT 0.25,
    max_positions      integer       NOT NULL DEFAULT 10,
    stop_loss_pct      numeric(9,6),
    take_profit_pct    numeric(9,6),
    max_daily_loss_pct numeric(9,6)  DEFAULT 0.05,
    min_cash_pct       numeric(9,6)  NOT NULL DEFAULT 0.02,
    created_at         timestamptz   NOT NULL DEFAULT now(),
    updated_at         timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT portfolio_name_is_a_slug CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    CONSTRAINT max_position_pct_is_a_fraction CHECK (max_position_pct > 0 AND max_position_pct <= 1),
    CONSTRAINT max_positions_is_positive CHECK (max_positions > 0),
    CONSTRAINT stop_loss_pct_is_a_fraction CHECK (stop_loss_pct > 0 AND stop_loss_pct < 1),
    CONSTRAINT take_profit_pct_is_positive CHECK (take_profit_pct > 0),
    CONSTRAINT max_daily_loss_pct_is_a_fraction CHECK (max_daily_loss_pct > 0 AND max_daily_loss_pct < 1),
    CONSTRAINT min_cash_pct_is_a_fraction CHECK (min_cash_pct >= 0 AND min_cash_pct < 1),
    CONSTRAINT portfolio_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[take_profit_pct]))
);
CREATE INDEX portfolios_by_broker_account ON portfolios (broker_account_id);

CREATE TABLE strategies (
    id           bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    portfolio_id bigint      NOT NULL REFERENCES portfolios,
    name         text        NOT NULL,
    definition   jsonb       NOT NULL,
    is_enabled   boolean     NOT NULL DEFAULT true,
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (portfolio_id, name),
    CONSTRAINT strategy_name_is_a_slug CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$')
);

-- Trading stopped, for one portfolio or (portfolio_id NULL) for all. A row with resumed_at is history.
CREATE TABLE halts (
    id             bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    portfolio_id   bigint      REFERENCES portfolios,
    level          halt_level  NOT NULL,
    reason         text        NOT NULL,
    actor          text        NOT NULL,
    halted_at      timestamptz NOT NULL,
    resumed_at     timestamptz,
    resumed_by     text,
    resumed_reason text,
    CONSTRAINT halt_has_a_reason CHECK (reason <> ''),
    CONSTRAINT resumed_with_actor_and_reason_or_not_at_all CHECK (
        (resumed_at IS NULL AND resumed_by IS NULL AND resumed_reason IS NULL)
        OR (resumed_at IS NOT NULL AND coalesce(resumed_by, '') <> '' AND coalesce(resumed_reason, '') <> ''))
);
CREATE UNIQUE INDEX one_active_halt_per_portfolio ON halts (portfolio_id) NULLS NOT DISTINCT
    WHERE resumed_at IS NULL;

-- ── Decisions and trades ─────────────────────────────────────────────────────────────────────────────

-- What a strategy saw and concluded at one tick. A retry finds it and drives it on; it never decides again.
CREATE TABLE decisions (
    id           bigint        PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    portfolio_id bigint        NOT NULL REFERENCES portfolios,
    -- NULL: stop losses and take profits, which belong to the portfolio.
    strategy_id  bigint        REFERENCES strategies,
    tick         timestamptz   NOT NULL,
    session      date          NOT NULL,
    equity       numeric(24,9) NOT NULL,
    cash         numeric(24,9) NOT NULL,
    signals      jsonb         NOT NULL,
    created_at   timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT one_decision_per_portfolio_strategy_and_tick
        UNIQUE NULLS NOT DISTINCT (portfolio_id, strategy_id, tick),
    CONSTRAINT decision_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[equity, cash]))
);

CREATE TABLE trades (
    id                bigint        PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    portfolio_id      bigint        NOT NULL REFERENCES portfolios,
    broker_account_id bigint        NOT NULL REFERENCES broker_accounts,
    decision_id       bigint        NOT NULL REFERENCES decisions,
    symbol            text          NOT NULL REFERENCES instruments,
    side              trade_side    NOT NULL,
    order_type        order_type    NOT NULL,
    time_in_force     time_in_force NOT NULL,
    quantity          numeric(20,9) NOT NULL,
    limit_price       numeric(20,9),
    stop_price        numeric(20,9),
    client_order_id   text          NOT NULL UNIQUE,
    -- What the decision set aside until the trade is final; in the portfolio's currency.
    reserved_cash     numeric(24,9) NOT NULL DEFAULT 0,
    reason            text          NOT NULL,
    status            trade_status  NOT NULL DEFAULT 'pending',
    status_reason     text,
    broker_order_id   text,
    filled_quantity   numeric(20,9) NOT NULL DEFAULT 0,
    attempts          integer       NOT NULL DEFAULT 0,
    lease_until       timestamptz,
    decided_at        timestamptz   NOT NULL,
    submitted_at      timestamptz,
    finalized_at      timestamptz,
    created_at        timestamptz   NOT NULL DEFAULT now(),
    updated_at        timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT client_order_id_is_short_and_plain CHECK (client_order_id ~ '^[A-Za-z0-9_-]{1,48}$'),
    CONSTRAINT trade_quantity_is_positive CHECK (quantity > 0),
    CONSTRAINT filled_quantity_is_within_quantity CHECK (filled_quantity >= 0 AND filled_quantity <= quantity),
    CONSTRAINT filled_means_the_whole_quantity CHECK (status <> 'filled' OR filled_quantity = quantity),
    CONSTRAINT limit_price_where_the_type_needs_it CHECK (
        (order_type IN ('limit', 'stop_limit')) = (limit_price IS NOT NULL)),
    CONSTRAINT stop_price_where_the_type_needs_it CHECK (
        (order_type IN ('stop', 'stop_limit')) = (stop_price IS NOT NULL)),
    CONSTRAINT limit_price_is_positive CHECK (limit_price > 0),
    CONSTRAINT stop_price_is_positive CHECK (stop_price > 0),
    CONSTRAINT reserved_cash_is_not_negative CHECK (reserved_cash >= 0),
    CONSTRAINT the_broker_has_what_is_submitted CHECK (
        status NOT IN ('submitted', 'partially_filled', 'filled') OR broker_order_id IS NOT NULL),
    CONSTRAINT submitting_holds_a_lease CHECK ((status = 'submitting') = (lease_until IS NOT NULL)),
    CONSTRAINT final_has_finalized_at CHECK (
        (status IN ('filled', 'cancelled', 'expired', 'rejected')) = (finalized_at IS NOT NULL)),
    CONSTRAINT trade_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[quantity, limit_price, stop_price, reserved_cash]))
);
CREATE UNIQUE INDEX one_trade_per_broker_order ON trades (broker_account_id, broker_order_id)
    WHERE broker_order_id IS NOT NULL;
CREATE INDEX trades_by_decision ON trades (decision_id);
CREATE INDEX trades_by_portfolio ON trades (portfolio_id, id);
CREATE INDEX open_trades ON trades (broker_account_id, portfolio_id, symbol, id)
    WHERE status IN ('pending', 'submitting', 'submitted', 'partially_filled');

CREATE TRIGGER a_final_trade_keeps_its_status BEFORE UPDATE OF status ON trades
    FOR EACH ROW WHEN (OLD.finalized_at IS NOT NULL AND NEW.status <> OLD.status)
    EXECUTE FUNCTION refuse_change_of_final_trade();

-- ── Ledger: fills + cash movements + adjustments. Append-only. ───────────────────────────────────────

CREATE TABLE fills (
    id                  bigint        PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    trade_id            bigint        NOT NULL REFERENCES trades,
    portfolio_id        bigint        NOT NULL REFERENCES portfolios,
    broker_account_id   bigint        NOT NULL REFERENCES broker_accounts,
    broker_execution_id text,
    symbol              text          NOT NULL REFERENCES instruments,
    side                trade_side    NOT NULL,
    quantity            numeric(20,9) NOT NULL,
    price               numeric(20,9) NOT NULL,
    fee                 numeric(20,9) NOT NULL DEFAULT 0,
    cumulative_quantity numeric(20,9) NOT NULL,
    executed_at         timestamptz   NOT NULL,
    -- The trade was already final when this came in.
    is_late             boolean       NOT NULL DEFAULT false,
    booked_at           timestamptz   NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT fill_quantity_is_positive CHECK (quantity > 0),
    CONSTRAINT fill_price_is_positive CHECK (price > 0 AND price < 'Infinity'),
    CONSTRAINT fill_fee_is_finite CHECK (fee > '-Infinity' AND fee < 'Infinity'),
    CONSTRAINT fill_is_within_its_cumulative_quantity CHECK (cumulative_quantity >= quantity),
    CONSTRAINT fill_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[quantity, cumulative_quantity]))
);
CREATE UNIQUE INDEX a_broker_execution_is_booked_once ON fills (broker_account_id, broker_execution_id)
    WHERE broker_execution_id IS NOT NULL;
CREATE UNIQUE INDEX a_fill_without_identity_is_booked_once ON fills (trade_id, cumulative_quantity)
    WHERE broker_execution_id IS NULL;
CREATE INDEX fills_by_trade ON fills (trade_id);
CREATE INDEX fills_in_execution_order ON fills (portfolio_id, symbol, executed_at, id);
CREATE INDEX fills_by_portfolio_and_time ON fills (portfolio_id, executed_at);

CREATE TABLE cash_movements (
    id           bigint             PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    portfolio_id bigint             NOT NULL REFERENCES portfolios,
    kind         cash_movement_kind NOT NULL,
    amount       numeric(24,9)      NOT NULL,
    reference    text               NOT NULL,
    note         text,
    occurred_at  timestamptz        NOT NULL,
    booked_at    timestamptz        NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_cash_movement_per_reference UNIQUE (portfolio_id, reference),
    CONSTRAINT cash_movement_is_finite CHECK (amount > '-Infinity' AND amount < 'Infinity'),
    CONSTRAINT cash_movement_has_the_sign_of_its_kind CHECK (
        CASE kind WHEN 'deposit' THEN amount > 0
                  WHEN 'withdrawal' THEN amount < 0
                  WHEN 'fee' THEN amount < 0
                  ELSE amount <> 0 END)
);
CREATE INDEX cash_movements_by_portfolio_and_time ON cash_movements (portfolio_id, occurred_at);

-- What our books and the broker's said when they did not agree. symbol NULL is cash.
CREATE TABLE discrepancies (
    id                bigint                 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    broker_account_id bigint                 NOT NULL REFERENCES broker_accounts,
    symbol            text                   REFERENCES instruments,
    ours              numeric(24,9)          NOT NULL,
    brokers           numeric(24,9)          NOT NULL,
    difference        numeric(24,9)          GENERATED ALWAYS AS (brokers - ours) STORED,
    cause             adjustment_cause       NOT NULL,
    resolution        discrepancy_resolution NOT NULL,
    run_id            text                   NOT NULL,
    found_at          timestamptz            NOT NULL,
    CONSTRAINT a_discrepancy_differs CHECK (ours <> brokers),
    CONSTRAINT discrepancy_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[ours, brokers]))
);
CREATE INDEX discrepancies_by_account ON discrepancies (broker_account_id, id);

-- A repair of our books. symbol NULL adjusts cash alone.
CREATE TABLE adjustments (
    id              bigint           PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    portfolio_id    bigint           NOT NULL REFERENCES portfolios,
    discrepancy_id  bigint           REFERENCES discrepancies,
    symbol          text             REFERENCES instruments,
    quantity        numeric(20,9)    NOT NULL DEFAULT 0,
    cash_amount     numeric(24,9)    NOT NULL DEFAULT 0,
    -- What one unit of an added quantity cost; NULL where the adjustment only reduces.
    unit_cost       numeric(20,9),
    cause           adjustment_cause NOT NULL,
    note            text             NOT NULL,
    actor           text             NOT NULL,
    occurred_at     timestamptz      NOT NULL,
    booked_at       timestamptz      NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT adjustment_moves_a_quantity_or_cash CHECK (quantity <> 0 OR cash_amount <> 0),
    CONSTRAINT adjusted_quantity_names_its_symbol CHECK (quantity = 0 OR symbol IS NOT NULL),
    CONSTRAINT unit_cost_is_not_negative CHECK (unit_cost >= 0),
    CONSTRAINT adjustment_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[quantity, cash_amount, unit_cost]))
);
CREATE INDEX adjustments_by_portfolio_and_time ON adjustments (portfolio_id, occurred_at);
CREATE INDEX adjustments_by_position ON adjustments (portfolio_id, symbol, occurred_at, id)
    WHERE symbol IS NOT NULL;

CREATE TRIGGER fills_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fills
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
CREATE TRIGGER cash_movements_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cash_movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
CREATE TRIGGER discrepancies_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON discrepancies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
CREATE TRIGGER adjustments_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

-- ── Caches of the ledger, compared with the fold every session ───────────────────────────────────────

CREATE TABLE positions (
    portfolio_id   bigint        NOT NULL REFERENCES portfolios,
    symbol         text          NOT NULL REFERENCES instruments,
    quantity       numeric(20,9) NOT NULL,
    average_cost   numeric(20,9) NOT NULL,
    realised_pnl   numeric(24,9) NOT NULL,
    -- The newest ledger entry it holds; an older one that comes in later means folding anew.
    last_fill_id   bigint        REFERENCES fills,
    last_entry_at  timestamptz   NOT NULL,
    market_price   numeric(20,9),
    market_value   numeric(24,9) GENERATED ALWAYS AS (quantity * market_price) STORED,
    unrealised_pnl numeric(24,9) GENERATED ALWAYS AS (quantity * (market_price - average_cost)) STORED,
    marked_at      timestamptz,
    updated_at     timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (portfolio_id, symbol),
    CONSTRAINT average_cost_is_not_negative CHECK (average_cost >= 0),
    CONSTRAINT a_flat_position_has_no_cost CHECK (quantity <> 0 OR average_cost = 0),
    CONSTRAINT position_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[quantity, average_cost, realised_pnl, market_price]))
) WITH (fillfactor = 50);
CREATE INDEX held_positions_by_symbol ON positions (symbol) WHERE quantity <> 0;

CREATE TABLE cash_balances (
    portfolio_id bigint        PRIMARY KEY REFERENCES portfolios,
    amount       numeric(24,9) NOT NULL,
    updated_at   timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT cash_balance_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[amount]))
) WITH (fillfactor = 50);

-- ── Snapshots ────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE portfolio_snapshots (
    portfolio_id    bigint         NOT NULL REFERENCES portfolios,
    session         date           NOT NULL,
    cash            numeric(24,9)  NOT NULL,
    positions_value numeric(24,9)  NOT NULL,
    total_value     numeric(24,9)  NOT NULL,
    position_count  integer        NOT NULL,
    -- Money put in or taken out during the session.
    net_deposits    numeric(24,9)  NOT NULL,
    -- Time-weighted, as fractions; NULL where there is nothing to compare with.
    daily_return    numeric(20,12),
    total_return    numeric(20,12),
    valued_at       timestamptz    NOT NULL,
    created_at      timestamptz    NOT NULL DEFAULT now(),
    updated_at      timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (portfolio_id, session),
    CONSTRAINT total_is_cash_plus_positions CHECK (total_value = cash + positions_value),
    CONSTRAINT position_count_is_not_negative CHECK (position_count >= 0),
    CONSTRAINT snapshot_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[cash, positions_value, net_deposits, daily_return, total_return]))
);
CREATE INDEX portfolio_snapshots_by_session ON portfolio_snapshots (session);

CREATE TABLE portfolio_snapshot_positions (
    portfolio_id bigint        NOT NULL,
    session      date          NOT NULL,
    symbol       text          NOT NULL REFERENCES instruments,
    quantity     numeric(20,9) NOT NULL,
    average_cost numeric(20,9) NOT NULL,
    close        numeric(20,9) NOT NULL,
    value        numeric(24,9) NOT NULL,
    PRIMARY KEY (portfolio_id, session, symbol),
    FOREIGN KEY (portfolio_id, session) REFERENCES portfolio_snapshots ON DELETE CASCADE,
    CONSTRAINT value_is_quantity_times_close CHECK (value = round(quantity * close, 9)),
    CONSTRAINT a_snapshot_lists_no_flat_position CHECK (quantity <> 0),
    CONSTRAINT snapshot_position_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[quantity, average_cost, close]))
);

-- ── Alerts and notifications ─────────────────────────────────────────────────────────────────────────

CREATE TABLE price_alerts (
    id              bigint          PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    symbol          text            NOT NULL REFERENCES instruments,
    condition       alert_condition NOT NULL,
    -- A price for above and below; a fraction (0.05 is 5 %) for percent_change.
    threshold       numeric(20,9)   NOT NULL,
    -- What a percent_change is measured from.
    reference_price numeric(20,9),
    status          alert_status    NOT NULL DEFAULT 'active',
    note            text,
    triggered_at    timestamptz,
    triggered_price numeric(20,9),
    created_at      timestamptz     NOT NULL DEFAULT now(),
    updated_at      timestamptz     NOT NULL DEFAULT now(),
    CONSTRAINT alert_threshold_is_positive CHECK (threshold > 0 AND threshold < 'Infinity'),
    CONSTRAINT percent_change_has_a_reference CHECK (
        (condition = 'percent_change') = (reference_price IS NOT NULL)),
    CONSTRAINT alert_reference_is_positive CHECK (reference_price > 0),
    CONSTRAINT triggered_with_time_and_price_or_not_at_all CHECK (
        (status = 'triggered') = (triggered_at IS NOT NULL)
        AND (triggered_at IS NULL) = (triggered_price IS NULL)),
    CONSTRAINT alert_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[reference_price, triggered_price]))
);
CREATE INDEX active_alerts_by_symbol ON price_alerts (symbol) WHERE status = 'active';

-- Outbox: written in the transaction that caused it, sent later, never twice.
CREATE TABLE notifications (
    id           bigint                PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    severity     notification_severity NOT NULL,
    kind         text                  NOT NULL,
    title        text                  NOT NULL,
    body         text                  NOT NULL DEFAULT '',
    portfolio_id bigint                REFERENCES portfolios,
    dedupe_key   text                  NOT NULL UNIQUE,
    occurred_at  timestamptz           NOT NULL,
    created_at   timestamptz           NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    attempts     integer               NOT NULL DEFAULT 0,
    last_error   text
);
CREATE INDEX unsent_notifications ON notifications (id) WHERE sent_at IS NULL;
CREATE INDEX notifications_by_time ON notifications (occurred_at);

-- ── Jobs ─────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE scheduled_jobs (
    job_type             job_type     PRIMARY KEY,
    job_status           job_status   NOT NULL DEFAULT 'enabled',
    -- The schedule's switch in the Dagster UI, as last seen; a person's, never flipped by the machine.
    is_scheduled         boolean      NOT NULL GENERATED ALWAYS AS (scheduled_since IS NOT NULL) STORED,
    scheduled_since      timestamptz, -- when it was switched on; NULL while it is off
    -- Settings a person may change.
    failure_threshold    integer      NOT NULL,
    probe_successes      integer      NOT NULL,
    wait_base_s          integer      NOT NULL,
    wait_cap_s           integer      NOT NULL,
    stale_after_s        integer,
    lease_s              integer      NOT NULL,
    missed_after_s       integer      NOT NULL,
    -- The breaker.
    consecutive_failures integer      NOT NULL DEFAULT 0,
    half_open_successes  integer      NOT NULL DEFAULT 0,
    open_count           integer      NOT NULL DEFAULT 0,
    opened_at            timestamptz,
    retry_at             timestamptz,
    closed_at            timestamptz,
    recent_outcomes      boolean[]    NOT NULL DEFAULT '{}', -- newest last, at most 20; true is a success
    needs_person         boolean      NOT NULL DEFAULT false,
    probe_run_id         text,
    -- What happened so far.
    run_count            bigint       NOT NULL DEFAULT 0,
    success_count        bigint       NOT NULL DEFAULT 0,
    failure_count        bigint       NOT NULL DEFAULT 0,
    average_duration_ms  numeric(14,3),
    last_run_at          timestamptz,
    last_success_at      timestamptz,
    last_failure_at      timestamptz,
    last_error           text,
    -- The first tick that did not run as it should have, while the alarm stands.
    missed_since         timestamptz,
    created_at           timestamptz  NOT NULL DEFAULT now(),
    updated_at           timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT failure_threshold_is_positive CHECK (failure_threshold > 0),
    CONSTRAINT probe_successes_is_positive CHECK (probe_successes > 0),
    CONSTRAINT waits_are_positive_and_ordered CHECK (wait_base_s > 0 AND wait_cap_s >= wait_base_s),
    CONSTRAINT stale_after_is_positive CHECK (stale_after_s > 0),
    CONSTRAINT lease_is_positive CHECK (lease_s > 0),
    CONSTRAINT missed_after_is_positive CHECK (missed_after_s > 0),
    CONSTRAINT counters_are_not_negative CHECK (
        consecutive_failures >= 0 AND half_open_successes >= 0 AND open_count >= 0
        AND run_count >= 0 AND success_count >= 0 AND failure_count >= 0),
    CONSTRAINT recent_outcomes_are_at_most_20 CHECK (cardinality(recent_outcomes) <= 20),
    CONSTRAINT an_open_breaker_retries_or_waits_for_a_person CHECK (
        job_status <> 'error' OR retry_at IS NOT NULL OR needs_person),
    CONSTRAINT job_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[average_duration_ms]))
);

INSERT INTO scheduled_jobs (job_type, failure_threshold, probe_successes, wait_base_s, wait_cap_s,
                            stale_after_s, lease_s, missed_after_s)
VALUES ('strategy_execution', 2, 2, 900, 3600,   60, 300, 180),
       ('order_status_check', 5, 2,  60,  300,   30,  50, 180),
       ('position_sync',      3, 2, 300,  900,  120, 240, 360),
       ('price_update',       3, 2, 300,  900,  120, 240, 360),
       ('alert_price_check',  3, 2, 300,  900,  120, 240, 360),
       ('portfolio_snapshot', 1, 1, 300, 1800, NULL, 900, 900);

-- One row for every run, keyed by its Dagster run id; a run that materialises several assets has one a job.
CREATE TABLE job_executions (
    id                bigint            PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job_type          job_type          NOT NULL REFERENCES scheduled_jobs,
    run_id            text              NOT NULL,
    triggered_by      execution_trigger NOT NULL,
    tick              timestamptz       NOT NULL,
    session           date,
    execution_status  execution_status  NOT NULL,
    is_probe          boolean           NOT NULL DEFAULT false,
    lease_until       timestamptz,
    started_at        timestamptz       NOT NULL,
    finished_at       timestamptz,
    duration_ms       numeric(14,3)     GENERATED ALWAYS AS (
        EXTRACT(EPOCH FROM finished_at - started_at) * 1000) STORED,
    counts            jsonb             NOT NULL DEFAULT '{}',
    skip_reason       text,
    error_class       text,
    error_message     text,
    -- Set once the outcome has been folded into scheduled_jobs, so that it is folded once.
    folded_at         timestamptz,
    created_at        timestamptz       NOT NULL DEFAULT now(),
    updated_at        timestamptz       NOT NULL DEFAULT now(),
    CONSTRAINT one_execution_per_run_and_job UNIQUE (run_id, job_type),
    CONSTRAINT started_holds_a_lease CHECK ((execution_status = 'started') = (lease_until IS NOT NULL)),
    CONSTRAINT finished_has_finished_at CHECK ((execution_status = 'started') = (finished_at IS NULL)),
    CONSTRAINT finished_is_not_before_started CHECK (finished_at >= started_at),
    CONSTRAINT skipped_has_a_reason CHECK ((execution_status = 'skipped') = (skip_reason IS NOT NULL)),
    CONSTRAINT failed_has_an_error CHECK ((execution_status = 'failed') = (error_message IS NOT NULL))
);
CREATE UNIQUE INDEX one_running_execution_per_job ON job_executions (job_type)
    WHERE execution_status = 'started';
CREATE UNIQUE INDEX one_execution_per_job_and_tick ON job_executions (job_type, tick)
    WHERE execution_status IN ('started', 'completed') AND triggered_by IN ('schedule', 'replay');
CREATE INDEX job_executions_by_job_and_tick ON job_executions (job_type, tick DESC);
CREATE INDEX job_executions_by_job_and_start ON job_executions (job_type, started_at DESC);
CREATE INDEX executions_not_folded ON job_executions (id) WHERE folded_at IS NULL;

CREATE TABLE breaker_events (
    id         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job_type   job_type    NOT NULL REFERENCES scheduled_jobs,
    old_status job_status  NOT NULL,
    new_status job_status  NOT NULL,
    reason     text        NOT NULL,
    run_id     text,
    actor      text        NOT NULL,
    at         timestamptz NOT NULL,
    CONSTRAINT breaker_event_changes_the_status CHECK (old_status <> new_status)
);
CREATE INDEX breaker_events_by_job ON breaker_events (job_type, id);

-- What people changed about a job's settings, and why.
CREATE TABLE job_setting_changes (
    id        bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job_type  job_type    NOT NULL REFERENCES scheduled_jobs,
    setting   text        NOT NULL,
    old_value integer,
    new_value integer,
    reason    text        NOT NULL,
    actor     text        NOT NULL,
    at        timestamptz NOT NULL,
    CONSTRAINT setting_change_changes_the_value CHECK (old_value IS DISTINCT FROM new_value),
    CONSTRAINT setting_change_has_actor_and_reason CHECK (actor <> '' AND reason <> '')
);
CREATE INDEX job_setting_changes_by_job ON job_setting_changes (job_type, id);

CREATE TRIGGER job_setting_changes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON job_setting_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
CREATE TRIGGER breaker_events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON breaker_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

-- ── The paper broker: a system of its own, which the rest reaches only through the broker protocol ───

CREATE SCHEMA paper;

CREATE TYPE paper.order_status AS ENUM (
    'accepted', 'partially_filled', 'filled', 'cancelled', 'expired', 'rejected'
);

CREATE TABLE paper.accounts (
    account_number text          PRIMARY KEY,
    cash           numeric(24,9) NOT NULL,
    currency       text          NOT NULL DEFAULT 'USD',
    created_at     timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT account_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[cash]))
);

-- Money that came from outside (positive) or went there; a reference counts once.
CREATE TABLE paper.transfers (
    account_number text          NOT NULL REFERENCES paper.accounts,
    reference      text          NOT NULL,
    amount         numeric(24,9) NOT NULL CHECK (amount > '-Infinity' AND amount < 'Infinity'),
    booked_at      timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (account_number, reference)
);

CREATE TABLE paper.orders (
    id                   uuid               PRIMARY KEY,
    account_number       text               NOT NULL REFERENCES paper.accounts,
    client_order_id      text               NOT NULL,
    symbol               text               NOT NULL,
    side                 trade_side         NOT NULL,
    order_type           order_type         NOT NULL,
    time_in_force        time_in_force      NOT NULL,
    quantity             numeric(20,9)      NOT NULL CHECK (quantity > 0),
    limit_price          numeric(20,9)      CHECK (limit_price > 0),
    stop_price           numeric(20,9)      CHECK (stop_price > 0),
    is_stop_triggered    boolean            NOT NULL DEFAULT false,
    status               paper.order_status NOT NULL,
    filled_quantity      numeric(20,9)      NOT NULL DEFAULT 0,
    filled_average_price numeric(20,9),
    -- Cash held back for each unit that is not filled yet.
    unit_reserve         numeric(20,9)      NOT NULL CHECK (unit_reserve >= 0),
    submitted_at         timestamptz        NOT NULL,
    -- Prices count from here on: the submission, or the next open for an order sent while closed.
    active_from          timestamptz        NOT NULL,
    -- The close of a day order's session; it can still be filled at that instant, not after it.
    expires_at           timestamptz,
    updated_at           timestamptz        NOT NULL,
    number               bigint             GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT client_order_id_is_unique UNIQUE (account_number, client_order_id),
    CONSTRAINT filled_quantity_is_within_quantity CHECK (filled_quantity BETWEEN 0 AND quantity),
    CONSTRAINT order_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[quantity, limit_price, stop_price, unit_reserve, filled_quantity,
                            filled_average_price]))
);
CREATE INDEX open_paper_orders ON paper.orders (account_number, symbol, number)
    WHERE status IN ('accepted', 'partially_filled');
CREATE INDEX paper_orders_by_submission ON paper.orders (account_number, submitted_at, number);

CREATE TABLE paper.executions (
    id                  text          PRIMARY KEY,
    order_id            uuid          NOT NULL REFERENCES paper.orders,
    account_number      text          NOT NULL REFERENCES paper.accounts,
    symbol              text          NOT NULL,
    side                trade_side    NOT NULL,
    quantity            numeric(20,9) NOT NULL CHECK (quantity > 0),
    price               numeric(20,9) NOT NULL CHECK (price > 0),
    fee                 numeric(20,9) NOT NULL DEFAULT 0,
    cumulative_quantity numeric(20,9) NOT NULL,
    executed_at         timestamptz   NOT NULL,
    number              bigint        GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT execution_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[quantity, price, fee, cumulative_quantity]))
);
CREATE INDEX paper_executions_by_time ON paper.executions (account_number, executed_at, number);

CREATE TABLE paper.positions (
    account_number      text          NOT NULL REFERENCES paper.accounts,
    symbol              text          NOT NULL,
    quantity            numeric(20,9) NOT NULL,
    average_entry_price numeric(20,9) NOT NULL,
    PRIMARY KEY (account_number, symbol),
    CONSTRAINT position_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[quantity, average_entry_price]))
) WITH (fillfactor = 50);

-- The last price an account's market was given for a symbol. Each account has a market of its own, so that
-- a replay of a past year and a live paper account do not meet.
CREATE TABLE paper.prices (
    account_number text          NOT NULL REFERENCES paper.accounts,
    symbol         text          NOT NULL,
    price          numeric(20,9) NOT NULL CHECK (price > 0),
    at             timestamptz   NOT NULL,
    PRIMARY KEY (account_number, symbol),
    CONSTRAINT price_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[price]))
) WITH (fillfactor = 50);

-- ── updated_at ───────────────────────────────────────────────────────────────────────────────────────

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['instruments', 'broker_accounts', 'portfolios', 'strategies', 'trades',
                                'positions', 'cash_balances', 'portfolio_snapshots', 'price_alerts',
                                'scheduled_jobs', 'job_executions']
    LOOP
        EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON %I
                        FOR EACH ROW EXECUTE FUNCTION set_updated_at()', name);
    END LOOP;
END $$;
