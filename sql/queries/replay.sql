-- name: replay_portfolios
-- Active portfolios by whether anything was put into them: a replay starts with the net deposits.
SELECT p.id, p.name, coalesce((SELECT sum(amount) FROM cash_movements m
                               WHERE m.portfolio_id = p.id AND m.kind IN ('deposit', 'withdrawal')), 0) AS cash
FROM portfolios p WHERE p.is_active
ORDER BY p.id;

-- name: replay_settings
-- What the COPY statements below go by, for this transaction.
SELECT set_config('replay.portfolios', CAST(CAST(:portfolio_ids AS bigint[]) AS text), true),
       set_config('replay.last', CAST(CAST(:last AS date) AS text), true),
       set_config('replay.starts_at', CAST(CAST(:starts_at AS timestamptz) AS text), true);

-- name: replay_instruments
-- Every instrument; one that an action ended is traded until the replay comes to that.
SELECT i.symbol, i.name,
       i.is_tradable OR EXISTS (SELECT FROM corporate_actions a
                                WHERE a.symbol = i.symbol AND a.kind IN ('symbol_change', 'delisting')
                                  AND a.applied_at IS NOT NULL AND a.withdrawn_at IS NULL),
       i.is_fractionable
FROM instruments i;

-- name: replay_bars
-- The bars that may be looked at: of traded and alerted symbols, up to the last session.
SELECT symbol, timeframe, starts_at, ends_at, session, open, high, low, close, volume, source FROM bars
WHERE session <= CAST(current_setting('replay.last') AS date)
  AND symbol IN (SELECT jsonb_array_elements_text(definition -> 'universe') FROM strategies
                 WHERE is_enabled AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]))
                 UNION SELECT symbol FROM price_alerts WHERE status <> 'disabled'
                 UNION SELECT unnest(ARRAY[symbol, new_symbol]) FROM corporate_actions
                 WHERE kind = 'symbol_change' AND withdrawn_at IS NULL);

-- name: replay_corporate_actions
-- The actions that stand, up to the last session; the replay's books go through them anew.
SELECT kind, symbol, session, effective_at, paid_at, new_units, old_units, fraction_price, cash_per_unit, is_special,
       new_symbol, source, actor
FROM corporate_actions
WHERE withdrawn_at IS NULL AND session <= CAST(current_setting('replay.last') AS date)
ORDER BY id;

-- name: replay_broker_accounts
-- Every account, as one at the paper broker.
SELECT id, 'paper', 'REPLAY-' || id, CAST('paper' AS broker_environment) FROM broker_accounts;

-- name: replay_portfolio_rows
-- The portfolios that are replayed, with their limits.
SELECT id, broker_account_id, name, currency, max_position_pct, max_positions, stop_loss_pct, take_profit_pct,
       max_daily_loss_pct, min_cash_pct, max_drawdown_pct
FROM portfolios WHERE id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_strategies
-- Their strategies.
SELECT id, portfolio_id, name, definition, is_enabled FROM strategies
WHERE portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_price_alerts
-- Alerts as they were before they fired.
SELECT id, symbol, condition, threshold, reference_price,
       CAST(CASE status WHEN 'disabled' THEN 'disabled' ELSE 'active' END AS alert_status), note
FROM price_alerts;

-- name: replay_cash_movements
-- What the portfolios start with: their net deposits in one.
SELECT portfolio_id, CAST('deposit' AS cash_movement_kind), sum(amount), 'replay',
       CAST(current_setting('replay.starts_at') AS timestamptz)
FROM cash_movements
WHERE kind IN ('deposit', 'withdrawal')
  AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]))
GROUP BY portfolio_id;

-- name: replay_fill_cash_balances
-- The cached cash of the portfolios that were copied.
INSERT INTO cash_balances (portfolio_id, amount) SELECT portfolio_id, sum(amount) FROM cash_movements GROUP BY 1;

-- name: replay_fill_paper_accounts
-- The paper broker's side of the same money.
WITH opened AS (
    INSERT INTO paper.accounts (account_number, cash)
    SELECT a.account_number, sum(m.amount)
    FROM cash_movements m
    JOIN portfolios p ON p.id = m.portfolio_id
    JOIN broker_accounts a ON a.id = p.broker_account_id
    GROUP BY a.account_number
    RETURNING account_number, cash)
INSERT INTO paper.transfers (account_number, reference, amount)
SELECT account_number, 'opening', cash FROM opened;

-- name: replay_move_sequences
-- New rows get ids after those that were copied.
SELECT setval(pg_get_serial_sequence('broker_accounts', 'id'), (SELECT max(id) FROM broker_accounts)),
       setval(pg_get_serial_sequence('portfolios', 'id'), (SELECT max(id) FROM portfolios)),
       setval(pg_get_serial_sequence('strategies', 'id'), (SELECT max(id) FROM strategies)),
       setval(pg_get_serial_sequence('price_alerts', 'id'), (SELECT max(id) FROM price_alerts));

-- name: replay_databases
-- Databases of replays, save those that are kept; that of one at work has the lock of its name held.
SELECT datname FROM pg_database
WHERE left(datname, length(:prefix)) = :prefix AND substr(datname, length(:prefix) + 1) ~ '^[0-9a-f]{12}$'
ORDER BY datname;

-- name: replay_lock
-- Held as long as a replay works on the database of that name; the connection's end gives it back.
SELECT pg_try_advisory_lock(hashtextextended(:name, 0));

-- name: replay_unlock
-- Gives the lock of a name back.
SELECT pg_advisory_unlock(hashtextextended(:name, 0));

-- name: replay_sessions_without_bars
-- Which of these sessions have no bar at all.
SELECT s.session FROM unnest(CAST(:sessions AS date[])) AS s (session)
WHERE NOT EXISTS (SELECT FROM bars b WHERE b.timeframe = 'day' AND b.session = s.session)
  AND NOT EXISTS (SELECT FROM bars b WHERE b.timeframe = 'minute' AND b.session = s.session)
ORDER BY s.session;

-- name: replay_day_of
-- Who decided in a session, and when that was first looked at: what the books and bars are wanted as of.
SELECT array_agg(DISTINCT portfolio_id) AS portfolio_ids,
       array_remove(array_agg(DISTINCT strategy_id), NULL) AS strategy_ids,
       min(created_at) AS seen_at
FROM decisions WHERE session = :session
HAVING count(*) > 0;

-- name: replay_day_settings
-- What the COPY statements of one day go by, for this transaction.
SELECT set_config('replay.portfolios', CAST(CAST(:portfolio_ids AS bigint[]) AS text), true),
       set_config('replay.strategies', CAST(CAST(:strategy_ids AS bigint[]) AS text), true),
       set_config('replay.last', CAST(CAST(:session AS date) AS text), true),
       set_config('replay.opens_at', CAST(CAST(:opens_at AS timestamptz) AS text), true),
       set_config('replay.seen_at', CAST(CAST(:seen_at AS timestamptz) AS text), true);

-- name: replay_day_bars
-- Bars up to the session's end as they were when it was traded: what was corrected since has its old values.
SELECT b.symbol, b.timeframe, b.starts_at, b.ends_at, b.session, coalesce(r.old_open, b.open),
       coalesce(r.old_high, b.high), coalesce(r.old_low, b.low), coalesce(r.old_close, b.close),
       coalesce(r.old_volume, b.volume), coalesce(r.old_source, b.source)
FROM bars b
LEFT JOIN LATERAL (
    SELECT * FROM bar_revisions v
    WHERE v.symbol = b.symbol AND v.timeframe = b.timeframe AND v.session = b.session
      AND v.starts_at = b.starts_at AND v.revised_at > CAST(current_setting('replay.seen_at') AS timestamptz)
    ORDER BY v.id LIMIT 1) r ON true
WHERE b.session <= CAST(current_setting('replay.last') AS date);

-- name: replay_day_strategies
-- The strategies of those portfolios; those that decided in the session are enabled.
SELECT id, portfolio_id, name, definition,
       id = ANY(CAST(current_setting('replay.strategies') AS bigint[])) AS is_enabled
FROM strategies
WHERE portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_price_alerts
-- Alerts that had not fired before the session.
SELECT id, symbol, condition, threshold, reference_price, CAST('active' AS alert_status), note
FROM price_alerts
WHERE status <> 'disabled'
  AND (triggered_at IS NULL OR triggered_at >= CAST(current_setting('replay.opens_at') AS timestamptz));

-- name: replay_day_cash_movements
-- Money that came and went before the session's close; a replay books none itself.
SELECT portfolio_id, kind, amount, reference, occurred_at FROM cash_movements
WHERE occurred_at < CAST(current_setting('replay.opens_at') AS timestamptz)
  AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_decisions
-- Decisions before the session.
SELECT id, portfolio_id, strategy_id, tick, session, equity, cash, signals FROM decisions
WHERE session < CAST(current_setting('replay.last') AS date)
  AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_trades
-- Their trades, as they ended.
SELECT t.id, t.portfolio_id, t.broker_account_id, t.decision_id, t.symbol, t.side, t.order_type,
       t.time_in_force, t.quantity, t.limit_price, t.stop_price, t.client_order_id, t.reason, t.status,
       t.status_reason, t.broker_order_id, t.filled_quantity, t.attempts, t.decided_at, t.submitted_at,
       t.finalized_at, t.is_entry
FROM trades t JOIN decisions d ON d.id = t.decision_id
WHERE d.session < CAST(current_setting('replay.last') AS date) AND t.finalized_at IS NOT NULL
  AND t.portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_fills
-- The fills that were executed before the session.
SELECT f.id, f.trade_id, f.portfolio_id, f.broker_account_id, f.broker_execution_id, f.symbol, f.side,
       f.quantity, f.price, f.fee, f.cumulative_quantity, f.executed_at, f.is_late
FROM fills f JOIN trades t ON t.id = f.trade_id JOIN decisions d ON d.id = t.decision_id
WHERE d.session < CAST(current_setting('replay.last') AS date) AND t.finalized_at IS NOT NULL
  AND f.executed_at < CAST(current_setting('replay.opens_at') AS timestamptz)
  AND f.portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_corporate_actions
-- The actions that stand, up to the session; those that were due before it are in the copied books already.
SELECT id, kind, symbol, session, effective_at, paid_at, new_units, old_units, fraction_price, cash_per_unit,
       is_special, new_symbol, source, actor,
       CASE WHEN due_at < CAST(current_setting('replay.opens_at') AS timestamptz) THEN applied_at END
FROM corporate_actions
WHERE withdrawn_at IS NULL AND session <= CAST(current_setting('replay.last') AS date);

-- name: replay_day_adjustments
-- Adjustments before the session.
SELECT id, portfolio_id, symbol, quantity, cash_amount, unit_cost, cause, note, actor, occurred_at,
       corporate_action_id, revision, keeps_cost
FROM adjustments
WHERE occurred_at < CAST(current_setting('replay.opens_at') AS timestamptz)
  AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_halts
-- Halts that were in force as the session opened.
SELECT id, portfolio_id, level, reason, actor, halted_at FROM halts
WHERE halted_at < CAST(current_setting('replay.opens_at') AS timestamptz)
  AND (resumed_at IS NULL OR resumed_at > CAST(current_setting('replay.opens_at') AS timestamptz))
  AND (portfolio_id IS NULL
       OR portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[])));

-- name: replay_day_snapshots
-- Snapshots of earlier sessions.
SELECT portfolio_id, session, cash, positions_value, gross_value, total_value, position_count, net_deposits,
       daily_return, total_return, valued_at
FROM portfolio_snapshots
WHERE session < CAST(current_setting('replay.last') AS date)
  AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_day_fill_cash_balances
-- The cached cash of the copied ledger.
INSERT INTO cash_balances (portfolio_id, amount)
SELECT p.id,
       coalesce((SELECT sum(amount) FROM cash_movements m WHERE m.portfolio_id = p.id), 0)
     + coalesce((SELECT sum(CASE side WHEN 'sell' THEN round(quantity * price, 9)
                                      ELSE -round(quantity * price, 9) END - fee)
                 FROM fills f WHERE f.portfolio_id = p.id), 0)
     + coalesce((SELECT sum(cash_amount) FROM adjustments a WHERE a.portfolio_id = p.id), 0)
FROM portfolios p;

-- name: replay_day_fill_paper_accounts
-- The paper broker's side of the copied books: the cash of each account's portfolios, and what they hold.
WITH opened AS (
    INSERT INTO paper.accounts (account_number, cash)
    SELECT a.account_number, sum(c.amount)
    FROM cash_balances c
    JOIN portfolios p ON p.id = c.portfolio_id
    JOIN broker_accounts a ON a.id = p.broker_account_id
    GROUP BY a.account_number
    RETURNING account_number, cash),
transferred AS (
    INSERT INTO paper.transfers (account_number, reference, amount)
    SELECT account_number, 'opening', cash FROM opened WHERE cash <> 0)
INSERT INTO paper.positions (account_number, symbol, quantity, average_entry_price)
SELECT a.account_number, h.symbol, sum(h.quantity),
       round(sum(h.quantity * h.average_cost) / nullif(sum(h.quantity), 0), 9)
FROM positions h
JOIN portfolios p ON p.id = h.portfolio_id
JOIN broker_accounts a ON a.id = p.broker_account_id
JOIN opened o ON o.account_number = a.account_number
GROUP BY a.account_number, h.symbol
HAVING sum(h.quantity) <> 0;

-- name: replay_day_move_sequences
-- New rows get ids after those that were copied.
SELECT setval(pg_get_serial_sequence('decisions', 'id'), coalesce((SELECT max(id) FROM decisions), 0) + 1, false),
       setval(pg_get_serial_sequence('trades', 'id'), coalesce((SELECT max(id) FROM trades), 0) + 1, false),
       setval(pg_get_serial_sequence('fills', 'id'), coalesce((SELECT max(id) FROM fills), 0) + 1, false),
       setval(pg_get_serial_sequence('adjustments', 'id'),
              coalesce((SELECT max(id) FROM adjustments), 0) + 1, false),
       setval(pg_get_serial_sequence('corporate_actions', 'id'),
              coalesce((SELECT max(id) FROM corporate_actions), 0) + 1, false),
       setval(pg_get_serial_sequence('halts', 'id'), coalesce((SELECT max(id) FROM halts), 0) + 1, false);

-- name: day_decisions
-- What each strategy concluded at the ticks of a session; a strategy of NULL is the portfolio itself.
SELECT d.tick, p.name AS portfolio, s.name AS strategy, d.equity, d.cash, d.signals
FROM decisions d
JOIN portfolios p ON p.id = d.portfolio_id
LEFT JOIN strategies s ON s.id = d.strategy_id
WHERE d.session = :session
ORDER BY d.tick, p.name, s.name NULLS FIRST;

-- name: day_trades
-- The trades that were decided in a session, with what their fills came to.
SELECT d.tick, p.name AS portfolio, s.name AS strategy, t.symbol, t.side, t.quantity, t.status,
       t.filled_quantity, round(f.notional / nullif(f.quantity, 0), 9) AS price, coalesce(f.fee, 0) AS fee,
       t.status_reason
FROM trades t
JOIN decisions d ON d.id = t.decision_id
JOIN portfolios p ON p.id = t.portfolio_id
LEFT JOIN strategies s ON s.id = d.strategy_id
LEFT JOIN LATERAL (SELECT sum(quantity) AS quantity, sum(quantity * price) AS notional, sum(fee) AS fee
                   FROM fills WHERE trade_id = t.id) f ON true
WHERE d.session = :session
ORDER BY d.tick, p.name, s.name NULLS FIRST, t.id;

-- name: day_values
-- What each portfolio was worth at a session's close.
SELECT p.name AS portfolio, s.cash, s.positions_value, s.total_value
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE s.session = :session ORDER BY p.name;

-- name: replay_enabled_strategies
-- How many strategies decide in it.
SELECT count(*) FROM strategies WHERE is_enabled;

-- name: replay_analyze
-- Tells the planner what was copied.
ANALYZE;

-- name: replay_without_timeouts
-- Lets the transaction take as long as its copies do.
SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true);
