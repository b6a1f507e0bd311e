-- name: insert_corporate_action
-- A new action; nothing where one of its kind is known for that symbol and session.
INSERT INTO corporate_actions (kind, symbol, session, effective_at, paid_at, new_units, old_units, fraction_price,
                               cash_per_unit, is_special, new_symbol, source, actor)
VALUES (CAST(:kind AS corporate_action_kind), :symbol, :session, :effective_at, :paid_at, :new_units, :old_units,
        :fraction_price, :cash_per_unit, :is_special, :new_symbol, :source, :actor)
ON CONFLICT (symbol, kind, session, is_special) WHERE withdrawn_at IS NULL DO NOTHING
RETURNING id;

-- name: known_corporate_action
-- The action of a kind, symbol and session that stands.
SELECT * FROM corporate_actions
WHERE symbol = :symbol AND kind = CAST(:kind AS corporate_action_kind) AND session = :session
  AND is_special = :is_special AND withdrawn_at IS NULL;

-- name: similar_corporate_action
-- The action of a kind and symbol that stands and is nearest to a session, within some days; of that very session
-- only where another source told of it.
SELECT * FROM corporate_actions
WHERE symbol = :symbol AND kind = CAST(:kind AS corporate_action_kind) AND withdrawn_at IS NULL
  AND abs(session - CAST(:session AS date)) <= CAST(:days AS integer)
  AND (session <> CAST(:session AS date) OR source <> :source)
ORDER BY abs(session - CAST(:session AS date)), id
LIMIT 1;

-- name: corporate_actions
-- Every action, withdrawn ones too, by session; of one symbol, or (NULL) of all.
SELECT * FROM corporate_actions WHERE CAST(:symbol AS text) IS NULL OR :symbol IN (symbol, new_symbol)
ORDER BY session, id;

-- name: hold_corporate_action
-- One action, locked until the transaction ends.
SELECT * FROM corporate_actions WHERE id = :id FOR UPDATE;

-- name: due_corporate_actions
-- The actions that should have changed the books by an instant and have not, in the order of their days.
SELECT * FROM corporate_actions
WHERE applied_at IS NULL AND withdrawn_at IS NULL AND due_at <= :at
ORDER BY due_at, id;

-- name: next_corporate_action
-- When the next action is due that has not changed the books.
SELECT min(due_at) FROM corporate_actions WHERE applied_at IS NULL AND withdrawn_at IS NULL;

-- name: set_corporate_action_applied
-- The books hold what the action did.
UPDATE corporate_actions SET applied_at = :at WHERE id = :id AND applied_at IS NULL;

-- name: withdraw_corporate_action
-- A person took an action back.
UPDATE corporate_actions SET withdrawn_at = :at, withdrawn_by = :actor, withdrawn_reason = :reason
WHERE id = :id AND withdrawn_at IS NULL;

-- name: applied_actions_after
-- The actions of some symbols that changed the books and became effective after an instant.
SELECT * FROM corporate_actions
WHERE symbol = ANY(CAST(:symbols AS text[])) AND effective_at > :after AND applied_at IS NOT NULL
  AND withdrawn_at IS NULL
ORDER BY due_at, id;

-- name: booked_of_action
-- What an action has changed in each portfolio so far; `cost` is what its units came at.
SELECT portfolio_id, symbol, keeps_cost, sum(quantity) AS quantity, sum(cash_amount) AS cash,
       coalesce(sum(quantity * unit_cost), 0) AS cost, max(revision) AS revision
FROM adjustments WHERE corporate_action_id = :id
GROUP BY portfolio_id, symbol, keeps_cost;

-- name: guessed_splits
-- What each portfolio's units changed by when the broker's books looked like a split and no action was known.
SELECT a.portfolio_id, sum(a.quantity) AS quantity FROM adjustments a
WHERE a.cause = 'split' AND a.corporate_action_id IS NULL AND a.symbol = :symbol
  AND a.occurred_at BETWEEN :since AND :until
GROUP BY a.portfolio_id;

-- name: insert_action_adjustments
-- What an action does to portfolios, in order.
INSERT INTO adjustments (portfolio_id, symbol, quantity, cash_amount, unit_cost, keeps_cost, revision, cause, note,
                         actor, occurred_at, corporate_action_id)
SELECT n.portfolio_id, n.symbol, n.quantity, n.cash_amount, n.unit_cost, n.keeps_cost, n.revision,
       CAST(:cause AS adjustment_cause), :note, :actor, :occurred_at, :corporate_action_id
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:symbols AS text[]), CAST(:quantities AS numeric[]),
            CAST(:cash_amounts AS numeric[]), CAST(:unit_costs AS numeric[]), CAST(:keep_costs AS boolean[]),
            CAST(:revisions AS integer[]))
     WITH ORDINALITY AS n (portfolio_id, symbol, quantity, cash_amount, unit_cost, keeps_cost, revision, number)
ORDER BY n.number;

-- name: split_alerts
-- Active alerts from before a split ask for the same value of what they are about.
UPDATE price_alerts
SET threshold = CASE WHEN condition = 'percent_change' THEN threshold
                     ELSE greatest(round(threshold * :old_units / :new_units, 9), 0.000000001) END,
    reference_price = CASE WHEN reference_price IS NOT NULL
                           THEN greatest(round(reference_price * :old_units / :new_units, 9), 0.000000001) END
WHERE symbol = :symbol AND status = 'active' AND created_at < :effective_at
RETURNING id;

-- name: rename_alerts
-- Active alerts follow a symbol to its new name.
UPDATE price_alerts SET symbol = :new_symbol WHERE symbol = :symbol AND status = 'active' RETURNING id;

-- name: end_alerts
-- Nothing is quoted any more that an alert could wait for; which action ended it is kept.
UPDATE price_alerts SET status = 'disabled', disabled_by = :id WHERE symbol = :symbol AND status = 'active'
RETURNING id;

-- name: restart_alerts
-- The alerts that an action ended wait again.
UPDATE price_alerts SET status = 'active', disabled_by = NULL WHERE disabled_by = :id RETURNING id;

-- name: split_quote
-- A quote from before a split says what the same value costs after it, until the market speaks.
UPDATE quotes SET price = greatest(round(price * :old_units / :new_units, 9), 0.000000001),
                  bid = nullif(round(bid * :old_units / :new_units, 9), 0),
                  ask = nullif(round(ask * :old_units / :new_units, 9), 0),
                  previous_close = nullif(round(previous_close * :old_units / :new_units, 9), 0)
WHERE symbol = :symbol AND quoted_at < :effective_at;

-- name: end_instrument
-- A symbol that is traded no more.
UPDATE instruments SET is_tradable = false WHERE symbol = :symbol;

-- name: revive_instrument
-- A symbol that is traded after all.
UPDATE instruments SET is_tradable = true WHERE symbol = :symbol;

-- name: open_trades_of_symbol
-- Trades decided before an instant that the broker may still fill.
SELECT t.id, p.name AS portfolio, t.side, t.quantity, t.status
FROM trades t JOIN portfolios p ON p.id = t.portfolio_id
WHERE t.symbol = :symbol AND t.decided_at < :before
  AND t.status IN ('pending', 'submitting', 'submitted', 'partially_filled')
ORDER BY t.id;

-- name: strategies_on
-- Enabled strategies whose universe holds a symbol.
SELECT s.name, p.name AS portfolio FROM strategies s JOIN portfolios p ON p.id = s.portfolio_id
WHERE s.is_enabled AND s.definition -> 'universe' ? :symbol
ORDER BY p.id, s.id;

-- name: uses_of_symbol
-- Whether anything was held or traded, or any bar before a session is known, under a symbol.
SELECT EXISTS (SELECT FROM bars WHERE symbol = :symbol AND session < :session) AS has_bars,
       EXISTS (SELECT FROM fills WHERE symbol = :symbol) AS has_fills,
       EXISTS (SELECT FROM positions WHERE symbol = :symbol AND quantity <> 0) AS is_held;

-- name: holders_of
-- The portfolios that hold a symbol now.
SELECT p.name, x.quantity FROM positions x JOIN portfolios p ON p.id = x.portfolio_id
WHERE x.symbol = :symbol AND x.quantity <> 0
ORDER BY p.id;

-- name: past_actions
-- Splits and dividends inside some histories, effective by an instant: each with how many bars of its session or
-- later there are (of the last `count`), and the raw close before it.
SELECT a.*,
       (SELECT count(*) FROM (SELECT FROM bars b
                              WHERE b.symbol = a.symbol AND b.timeframe = CAST(:timeframe AS bar_timeframe)
                                AND b.session >= a.session AND b.ends_at <= :at
                              LIMIT :count) since) AS bars_since,
       (SELECT b.close FROM bars b WHERE b.symbol = a.symbol AND b.timeframe = 'day' AND b.session < a.session
        ORDER BY b.session DESC LIMIT 1) AS previous_close
FROM unnest(CAST(:symbols AS text[]), CAST(:first_sessions AS date[])) AS h (symbol, first_session)
JOIN corporate_actions a ON a.symbol = h.symbol AND a.session >= h.first_session
WHERE a.kind IN ('split', 'dividend') AND a.effective_at <= :at AND a.withdrawn_at IS NULL
ORDER BY a.session, a.id;

-- name: former_symbols
-- What some symbols were called before, and until when; by an instant.
SELECT new_symbol AS symbol, symbol AS former_symbol, effective_at FROM corporate_actions
WHERE kind = 'symbol_change' AND new_symbol = ANY(CAST(:symbols AS text[])) AND effective_at <= :at
  AND withdrawn_at IS NULL
ORDER BY effective_at;

-- name: splits_since
-- Splits of some symbols that became effective between two instants.
SELECT * FROM corporate_actions
WHERE kind = 'split' AND symbol = ANY(CAST(:symbols AS text[])) AND effective_at > :since AND effective_at <= :until
  AND withdrawn_at IS NULL
ORDER BY effective_at, id;

-- name: recent_action_entries
-- What actions changed in an account since an instant: units by symbol, cash by action.
SELECT a.corporate_action_id, a.symbol, sum(a.quantity) AS quantity, sum(a.cash_amount) AS cash
FROM adjustments a JOIN portfolios p ON p.id = a.portfolio_id
WHERE p.broker_account_id = :broker_account_id AND a.corporate_action_id IS NOT NULL AND a.occurred_at > :since
GROUP BY a.corporate_action_id, a.symbol
ORDER BY a.corporate_action_id, a.symbol;

-- name: close_before
-- The last official close of a symbol before a session.
SELECT close FROM bars WHERE symbol = :symbol AND timeframe = 'day' AND session < :session
ORDER BY session DESC LIMIT 1;

-- name: guessed_dividends
-- Cash by which the books of an account were brought up to its broker's for a dividend that no action told of.
SELECT sum(a.cash_amount) AS cash
FROM adjustments a JOIN discrepancies d ON d.id = a.discrepancy_id
WHERE d.broker_account_id = :broker_account_id AND a.cause IN ('dividend', 'unknown') AND a.symbol IS NULL
  AND a.corporate_action_id IS NULL AND a.occurred_at BETWEEN :since AND :until
GROUP BY d.id;
