-- One statement that adds bars and corrects others comes here twice, for portfolios of which the second may come
-- before the first: whoever held them in their order meanwhile ended in a deadlock. So all are held at once.
CREATE OR REPLACE FUNCTION mark_snapshots_of_other_closes() RETURNS trigger
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
