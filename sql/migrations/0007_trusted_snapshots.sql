-- Snapshots tell what they are exposed to, how old the closes are that they were valued at, and when the ledger
-- or a bar no longer gives what they say.

ALTER TABLE portfolio_snapshots
    ADD COLUMN gross_value numeric(24,9),
    ADD COLUMN stale_since timestamptz,
    ADD COLUMN stale_reason text;
UPDATE portfolio_snapshots s SET gross_value = coalesce((
    SELECT sum(abs(h.value)) FROM portfolio_snapshot_positions h
    WHERE h.portfolio_id = s.portfolio_id AND h.session = s.session), 0);
ALTER TABLE portfolio_snapshots
    ALTER COLUMN gross_value SET NOT NULL,
    -- Σ |position value| / total: 1 is fully invested, more is on borrowed money; NULL where nothing is left.
    ADD COLUMN exposure numeric GENERATED ALWAYS AS (
        CASE WHEN cash + positions_value > 0 THEN round(gross_value / (cash + positions_value), 12) END) STORED,
    ADD CONSTRAINT gross_value_is_not_below_the_net CHECK (gross_value >= abs(positions_value)),
    ADD CONSTRAINT snapshot_gross_value_is_not_nan CHECK (gross_value <> 'NaN'),
    ADD CONSTRAINT stale_with_a_reason_or_not_at_all CHECK ((stale_since IS NULL) = (stale_reason IS NULL));
CREATE INDEX stale_snapshots ON portfolio_snapshots (session, portfolio_id) WHERE stale_since IS NOT NULL;

ALTER TABLE portfolio_snapshot_positions
    ADD COLUMN close_session date,
    ADD COLUMN close_age integer NOT NULL DEFAULT 0;  -- in sessions
UPDATE portfolio_snapshot_positions SET close_session = session;
ALTER TABLE portfolio_snapshot_positions
    ALTER COLUMN close_session SET NOT NULL,
    ALTER COLUMN close_age DROP DEFAULT,
    ADD CONSTRAINT a_close_of_another_session_says_how_old_it_is
        CHECK (close_age >= 0 AND close_session <= session AND (close_age = 0) = (close_session = session));
CREATE INDEX snapshot_positions_at_carried_closes ON portfolio_snapshot_positions (symbol, session)
    WHERE close_age > 0;

-- What follows is done by triggers, so that nobody who books or corrects can forget it; once a statement.

-- Of each portfolio the snapshots of closes at or after an instant are no longer what the ledger says. Whoever
-- values a portfolio holds its row, so that an entry is either in a value or marks it.
CREATE FUNCTION mark_snapshots_stale(portfolio_ids bigint[], instants timestamptz[], reasons text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM portfolios p WHERE p.id = ANY(portfolio_ids) ORDER BY p.id FOR NO KEY UPDATE;
    UPDATE portfolio_snapshots s SET stale_since = clock_timestamp(), stale_reason = n.reason
    FROM (SELECT DISTINCT ON (e.portfolio_id) e.portfolio_id, e.at, e.reason
          FROM unnest(portfolio_ids, instants, reasons) AS e (portfolio_id, at, reason)
          ORDER BY e.portfolio_id, e.at) n
    WHERE s.portfolio_id = n.portfolio_id AND s.session >= CAST(n.at AT TIME ZONE 'UTC' AS date) - 2
      AND s.valued_at >= n.at AND s.stale_since IS NULL;
END $$;

CREATE FUNCTION mark_snapshots_of_late_fills() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_snapshots_stale(
        array_agg(portfolio_id), array_agg(executed_at),
        array_agg(format('A fill of %s executed at %s UTC was booked later.', symbol,
                         to_char(executed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))))
    FROM entries;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_snapshots_of_late_adjustments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_snapshots_stale(
        array_agg(portfolio_id), array_agg(occurred_at),
        array_agg(format('An adjustment of %s (%s) as of %s UTC was booked later.', coalesce(symbol, 'cash'), cause,
                         to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))))
    FROM entries;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_snapshots_of_late_movements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_snapshots_stale(
        array_agg(portfolio_id), array_agg(occurred_at),
        array_agg(format('A cash movement (%s) as of %s UTC was booked later.', kind,
                         to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))))
    FROM entries;
    RETURN NULL;
END $$;

-- A close that is another now, that came after its snapshot, or that is gone. Whoever values holds `bars` against
-- writers, so that a bar is either in a value or marks it.
CREATE FUNCTION mark_snapshots_of_other_closes() RETURNS trigger LANGUAGE plpgsql AS $$
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
        PERFORM FROM portfolios p WHERE p.id = ANY(ids) ORDER BY p.id FOR NO KEY UPDATE;
        UPDATE portfolio_snapshots s SET stale_since = clock_timestamp(), stale_reason = n.reason
        FROM (SELECT DISTINCT ON (e.portfolio_id, e.session) e.portfolio_id, e.session, e.reason
              FROM unnest(ids, sessions, reasons) AS e (portfolio_id, session, reason)
              ORDER BY e.portfolio_id, e.session, e.reason) n
        WHERE s.portfolio_id = n.portfolio_id AND s.session = n.session AND s.stale_since IS NULL;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER late_fills_mark_snapshots AFTER INSERT ON fills
    REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_late_fills();
CREATE TRIGGER late_adjustments_mark_snapshots AFTER INSERT ON adjustments
    REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_late_adjustments();
CREATE TRIGGER late_movements_mark_snapshots AFTER INSERT ON cash_movements
    REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_late_movements();
CREATE TRIGGER new_bars_mark_snapshots AFTER INSERT ON bars
    REFERENCING NEW TABLE AS changed_bars FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_other_closes();
CREATE TRIGGER corrected_bars_mark_snapshots AFTER UPDATE ON bars
    REFERENCING NEW TABLE AS changed_bars FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_other_closes();
CREATE TRIGGER removed_bars_mark_snapshots AFTER DELETE ON bars
    REFERENCING OLD TABLE AS changed_bars FOR EACH STATEMENT EXECUTE FUNCTION mark_snapshots_of_other_closes();
