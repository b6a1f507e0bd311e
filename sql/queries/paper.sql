-- name: paper_open_account
-- A new account with its first cash as its first transfer; nothing where it exists.
WITH opened AS (
    INSERT INTO paper.accounts (account_number, cash) VALUES (:account_number, :cash)
    ON CONFLICT DO NOTHING
    RETURNING account_number, cash)
INSERT INTO paper.transfers (account_number, reference, amount)
SELECT account_number, 'opening', cash FROM opened
RETURNING account_number;

-- name: paper_lock_account
-- One writer per account: every change of its book begins here.
SELECT account_number FROM paper.accounts WHERE account_number = :account_number FOR NO KEY UPDATE;

-- name: paper_transfer_amount
-- What was transferred under a reference.
SELECT amount FROM paper.transfers WHERE account_number = :account_number AND reference = :reference;

-- name: paper_book_transfer
-- Money that comes in (positive) or goes out.
WITH booked AS (
    INSERT INTO paper.transfers (account_number, reference, amount)
    VALUES (:account_number, :reference, :amount)
    RETURNING account_number, amount)
UPDATE paper.accounts AS account SET cash = account.cash + booked.amount
FROM booked WHERE account.account_number = booked.account_number;

-- name: paper_account
-- The account's money. Open orders and short positions hold part of the cash back. Each holding's price is
-- looked up by its key (OFFSET 0 keeps that apart): planned while the tables are small, a join of the two
-- would compare every holding with every price.
SELECT account.account_number, account.currency, account.cash,
       account.cash + held.value AS equity,
       greatest(account.cash - ordered.reserve - held.short_reserve, 0) AS buying_power
FROM paper.accounts AS account
CROSS JOIN LATERAL (
    SELECT coalesce(sum(round(position.quantity * known.price, 9)), 0) AS value,
           coalesce(sum(round(position.quantity * known.price, 9) * -CAST(:short_reserve_ratio AS numeric))
                    FILTER (WHERE position.quantity < 0), 0) AS short_reserve
    FROM paper.positions AS position
    CROSS JOIN LATERAL (SELECT price FROM paper.prices AS newest
                        WHERE newest.account_number = position.account_number
                          AND newest.symbol = position.symbol
                        OFFSET 0) AS known
    WHERE position.account_number = account.account_number AND position.quantity <> 0) AS held
CROSS JOIN LATERAL (
    SELECT coalesce(sum(round(unit_reserve * (quantity - filled_quantity), 9)), 0) AS reserve
    FROM paper.orders
    WHERE account_number = account.account_number
      AND status IN ('accepted', 'partially_filled')
      AND (expires_at IS NULL OR expires_at >= :now)) AS ordered
WHERE account.account_number = :account_number;

-- name: paper_circumstances
-- What decides whether an order is taken; the buying power is that of paper_account.
SELECT instrument.symbol IS NOT NULL AS is_symbol_known,
       coalesce(instrument.is_tradable, false) AS is_tradable,
       coalesce(instrument.is_fractionable, false) AS is_fractionable,
       known.price AS last_price,
       known.at AS priced_at,
       coalesce(position.quantity, 0) AS held_quantity,
       coalesce(position.average_entry_price, 0) AS average_entry_price,
       ordered.selling_quantity,
       ordered.buying_quantity,
       EXISTS (SELECT FROM paper.orders
               WHERE account_number = :account_number
                 AND client_order_id = :client_order_id) AS is_client_order_id_taken,
       greatest(account.cash - ordered.reserve - short.reserve, 0) AS buying_power
FROM (VALUES (CAST(:account_number AS text), CAST(:symbol AS text))) AS asked (account_number, symbol)
JOIN paper.accounts AS account USING (account_number)
LEFT JOIN instruments AS instrument USING (symbol)
LEFT JOIN paper.prices AS known USING (account_number, symbol)
LEFT JOIN paper.positions AS position USING (account_number, symbol)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(quantity - filled_quantity)
                    FILTER (WHERE side = 'sell' AND symbol = asked.symbol), 0) AS selling_quantity,
           coalesce(sum(quantity - filled_quantity)
                    FILTER (WHERE side = 'buy' AND symbol = asked.symbol), 0) AS buying_quantity,
           coalesce(sum(round(unit_reserve * (quantity - filled_quantity), 9)), 0) AS reserve
    FROM paper.orders
    WHERE account_number = asked.account_number
      AND status IN ('accepted', 'partially_filled')
      AND (expires_at IS NULL OR expires_at >= :now)) AS ordered
CROSS JOIN LATERAL (
    SELECT coalesce(sum(round(one.quantity * newest.price, 9) * -CAST(:short_reserve_ratio AS numeric)), 0)
           AS reserve
    FROM paper.positions AS one
    CROSS JOIN LATERAL (SELECT price FROM paper.prices AS newest
                        WHERE newest.account_number = one.account_number AND newest.symbol = one.symbol
                        OFFSET 0) AS newest
    WHERE one.account_number = asked.account_number AND one.quantity < 0) AS short;

-- name: paper_insert_order
-- An order that was taken, before any price met it.
INSERT INTO paper.orders (id, account_number, client_order_id, symbol, side, order_type, time_in_force,
                          quantity, limit_price, stop_price, unit_reserve, status, submitted_at,
                          active_from, expires_at, updated_at)
VALUES (CAST(:order_id AS uuid), :account_number, :client_order_id, :symbol, :side, :order_type,
        :time_in_force, :quantity, :limit_price, :stop_price, :unit_reserve, :state, :submitted_at,
        :active_from, :expires_at, :updated_at);

-- name: paper_move_prices
-- Records newer prices, closes the day orders whose session has ended, and locks the open orders that the
-- prices may meet, oldest first, each with the account's holding.
WITH moved AS (
    INSERT INTO paper.prices AS known (account_number, symbol, price, at)
    SELECT :account_number, tick.symbol, tick.price, :at
    FROM unnest(CAST(:symbols AS text[]), CAST(:prices AS numeric[])) AS tick (symbol, price)
    ORDER BY tick.symbol
    ON CONFLICT (account_number, symbol) DO UPDATE
        SET price = excluded.price, at = excluded.at
        WHERE known.at < excluded.at
    RETURNING symbol),
expired AS (
    UPDATE paper.orders SET status = 'expired', updated_at = expires_at
    WHERE account_number = :account_number
      AND status IN ('accepted', 'partially_filled')
      AND expires_at < :at)
SELECT resting.*, position.quantity AS held_quantity, position.average_entry_price
FROM moved
JOIN paper.orders AS resting USING (symbol)
LEFT JOIN paper.positions AS position USING (account_number, symbol)
WHERE :is_trading
  AND resting.account_number = :account_number
  AND resting.status IN ('accepted', 'partially_filled')
  AND (resting.expires_at IS NULL OR resting.expires_at >= :at)
  AND resting.active_from <= :at
ORDER BY resting.number
FOR UPDATE OF resting;

-- name: paper_apply_matches
-- What prices did to orders, with the executions, holdings and cash that follow: all or nothing.
WITH changed AS (
    UPDATE paper.orders AS resting
    SET status = matched.status, is_stop_triggered = matched.is_stop_triggered,
        filled_quantity = matched.filled_quantity, filled_average_price = matched.filled_average_price,
        updated_at = :at
    FROM unnest(CAST(:order_ids AS uuid[]), CAST(:states AS paper.order_status[]),
                CAST(:triggered AS boolean[]), CAST(:filled_quantities AS numeric[]),
                CAST(:filled_average_prices AS numeric[]))
         AS matched (id, status, is_stop_triggered, filled_quantity, filled_average_price)
    WHERE resting.id = matched.id),
executed AS (
    INSERT INTO paper.executions (id, order_id, account_number, symbol, side, quantity, price, fee,
                                  cumulative_quantity, executed_at)
    SELECT fill.id, fill.order_id, :account_number, fill.symbol, fill.side, fill.quantity, fill.price,
           fill.fee, fill.cumulative_quantity, :at
    FROM unnest(CAST(:execution_ids AS text[]), CAST(:executed_order_ids AS uuid[]),
                CAST(:symbols AS text[]), CAST(:sides AS trade_side[]), CAST(:quantities AS numeric[]),
                CAST(:prices AS numeric[]), CAST(:fees AS numeric[]),
                CAST(:cumulative_quantities AS numeric[])) WITH ORDINALITY
         AS fill (id, order_id, symbol, side, quantity, price, fee, cumulative_quantity, position)
    ORDER BY fill.position),
held AS (
    INSERT INTO paper.positions AS known (account_number, symbol, quantity, average_entry_price)
    SELECT :account_number, holding.symbol, holding.quantity, holding.average_entry_price
    FROM unnest(CAST(:held_symbols AS text[]), CAST(:held_quantities AS numeric[]),
                CAST(:average_entry_prices AS numeric[]))
         AS holding (symbol, quantity, average_entry_price)
    ON CONFLICT (account_number, symbol) DO UPDATE
        SET quantity = excluded.quantity, average_entry_price = excluded.average_entry_price)
UPDATE paper.accounts SET cash = cash + :cash_change WHERE account_number = :account_number;

-- name: paper_cancel_order
-- Closes an order that is still open; nothing where it is not.
UPDATE paper.orders SET status = 'cancelled', updated_at = :now
WHERE id = CAST(:order_id AS uuid) AND account_number = :account_number
  AND status IN ('accepted', 'partially_filled')
  AND (expires_at IS NULL OR expires_at >= :now)
RETURNING id;

-- name: paper_order
-- One order by the broker's id.
SELECT * FROM paper.orders WHERE id = CAST(:order_id AS uuid) AND account_number = :account_number;

-- name: paper_order_by_client_id
-- One order by the id its sender gave it.
SELECT * FROM paper.orders WHERE account_number = :account_number AND client_order_id = :client_order_id;

-- name: paper_open_orders
-- Every order that may still be filled, oldest first.
SELECT * FROM paper.orders
WHERE account_number = :account_number
  AND status IN ('accepted', 'partially_filled')
  AND (expires_at IS NULL OR expires_at >= :now)
ORDER BY submitted_at, number;

-- name: paper_orders_after
-- Every order sent after an instant, oldest first.
SELECT * FROM paper.orders
WHERE account_number = :account_number AND submitted_at > :after
ORDER BY submitted_at, number;

-- name: paper_executions_after
-- Every execution after an instant, oldest first.
SELECT * FROM paper.executions
WHERE account_number = :account_number AND executed_at > :after
ORDER BY executed_at, number;

-- name: paper_positions
-- What the account holds, by symbol.
SELECT symbol, quantity, average_entry_price AS average_cost FROM paper.positions
WHERE account_number = :account_number AND quantity <> 0
ORDER BY symbol;

-- name: paper_applied_actions
-- Which of these actions an account has been through.
SELECT corporate_action_id FROM paper.applied_actions
WHERE account_number = :account_number AND corporate_action_id = ANY(CAST(:ids AS bigint[]));

-- name: paper_symbol_entries
-- What made up an account's holding of a symbol: executions and, after those of the same instant, actions.
SELECT at, side, quantity, price, fee, keeps_cost FROM (
    SELECT executed_at AS at, CAST(side AS text) AS side, quantity, price, fee, false AS keeps_cost, number
    FROM paper.executions WHERE account_number = :account_number AND symbol = :symbol
    UNION ALL
    SELECT occurred_at, NULL, quantity, unit_cost, 0, keeps_cost, corporate_action_id * 10 + number
    FROM paper.action_entries
    WHERE account_number = :account_number AND symbol = :symbol AND quantity <> 0
) entries
ORDER BY at, side NULLS LAST, number;

-- name: paper_apply_action
-- An account has been through an action.
INSERT INTO paper.applied_actions (account_number, corporate_action_id, applied_at)
VALUES (:account_number, :id, :at);

-- name: paper_action_entries
-- What an action did to an account, with its cash, in one.
WITH entered AS (
    INSERT INTO paper.action_entries (account_number, corporate_action_id, number, symbol, quantity, unit_cost,
                                      keeps_cost, cash, occurred_at)
    SELECT :account_number, :id, n.number, n.symbol, n.quantity, n.unit_cost, n.keeps_cost, n.cash, :occurred_at
    FROM unnest(CAST(:symbols AS text[]), CAST(:quantities AS numeric[]), CAST(:unit_costs AS numeric[]),
                CAST(:keep_costs AS boolean[]), CAST(:cash AS numeric[]))
         WITH ORDINALITY AS n (symbol, quantity, unit_cost, keeps_cost, cash, number)
    RETURNING cash)
UPDATE paper.accounts SET cash = cash + (SELECT coalesce(sum(cash), 0) FROM entered)
WHERE account_number = :account_number;

-- name: paper_withdraw_action
-- Takes back what an action did to an account's cash and entries; answers the symbols it touched.
WITH gone AS (
    DELETE FROM paper.action_entries WHERE account_number = :account_number AND corporate_action_id = :id
    RETURNING symbol, cash),
marked AS (
    DELETE FROM paper.applied_actions WHERE account_number = :account_number AND corporate_action_id = :id),
paid AS (
    UPDATE paper.accounts SET cash = cash - (SELECT coalesce(sum(cash), 0) FROM gone)
    WHERE account_number = :account_number)
SELECT DISTINCT symbol FROM gone;

-- name: paper_set_position
-- What an account holds of a symbol after its entries were folded anew.
INSERT INTO paper.positions (account_number, symbol, quantity, average_entry_price)
VALUES (:account_number, :symbol, :quantity, :average_entry_price)
ON CONFLICT (account_number, symbol) DO UPDATE
    SET quantity = excluded.quantity, average_entry_price = excluded.average_entry_price;

-- name: paper_cancel_orders_before
-- Orders from before an action are for units that are no more: their senders decide anew.
UPDATE paper.orders SET status = 'cancelled', updated_at = :at
WHERE account_number = :account_number AND symbol = :symbol AND submitted_at < :before
  AND status IN ('accepted', 'partially_filled');

-- name: paper_set_price
-- What a symbol costs after an action, where no newer price has come.
INSERT INTO paper.prices AS known (account_number, symbol, price, at)
SELECT account_number, :new_symbol, greatest(round(price * :old_units / :new_units, 9), 0.000000001), at
FROM paper.prices WHERE account_number = :account_number AND symbol = :symbol AND at < :before
ON CONFLICT (account_number, symbol) DO UPDATE SET price = excluded.price WHERE known.at <= excluded.at;
