-- name: traded_symbols_between
-- What any portfolio held or traded between two dates (inclusive), by its ledger.
SELECT symbol FROM (
    SELECT symbol, executed_at AS at, portfolio_id FROM fills
    UNION ALL
    SELECT symbol, occurred_at, portfolio_id FROM adjustments WHERE symbol IS NOT NULL AND quantity <> 0
) entries
LEFT JOIN positions p USING (portfolio_id, symbol)
GROUP BY symbol
HAVING CAST(min(at) AS date) <= CAST(:last AS date)
   AND (CAST(max(at) AS date) >= CAST(:first AS date) OR bool_or(coalesce(p.quantity, 0) <> 0));

-- name: ended_symbols
-- Symbols that were traded no more from a session on: delisted, or called otherwise.
SELECT symbol FROM corporate_actions
WHERE kind IN ('symbol_change', 'delisting') AND session <= :session AND withdrawn_at IS NULL;

-- name: names_before
-- What some symbols were called before.
SELECT symbol FROM corporate_actions
WHERE kind = 'symbol_change' AND new_symbol = ANY(CAST(:symbols AS text[])) AND withdrawn_at IS NULL;

-- name: bars_of_sessions
-- How many of some symbols have a daily bar in each session, and which have none although they had one before.
WITH listed AS (
    SELECT s.symbol, (SELECT min(b.session) FROM bars b WHERE b.symbol = s.symbol AND b.timeframe = 'day') AS first,
           (SELECT min(a.session) FROM corporate_actions a
            WHERE a.symbol = s.symbol AND a.kind IN ('symbol_change', 'delisting') AND a.withdrawn_at IS NULL) AS ended
    FROM unnest(CAST(:symbols AS text[])) AS s (symbol)
)
SELECT d.session, count(b.symbol) AS bars,
       array_agg(l.symbol ORDER BY l.symbol) FILTER (WHERE b.symbol IS NULL AND d.session >= coalesce(l.first, d.session)
                                                     AND (l.ended IS NULL OR d.session < l.ended)) AS missing
FROM unnest(CAST(:sessions AS date[])) AS d (session)
CROSS JOIN listed l
LEFT JOIN bars b ON b.symbol = l.symbol AND b.timeframe = 'day' AND b.session = d.session
GROUP BY d.session ORDER BY d.session;

-- name: bar_gaps
-- Sessions between the first and the last daily bar of a symbol without one, as ranges; a symbol that is held
-- counts up to the newest session with bars.
WITH spans AS (
    SELECT b.symbol, min(b.session) AS first, count(*) AS bars,
           CASE WHEN EXISTS (SELECT FROM positions p WHERE p.symbol = b.symbol AND p.quantity <> 0)
                THEN (SELECT max(session) FROM bars WHERE timeframe = 'day') ELSE max(b.session) END AS last
    FROM bars b WHERE b.timeframe = 'day' GROUP BY b.symbol
), days AS (
    SELECT d.session, row_number() OVER (ORDER BY d.session) AS number
    FROM unnest(CAST(:sessions AS date[])) AS d (session)
), holed AS (
    SELECT s.* FROM spans s
    WHERE s.bars < (SELECT count(*) FROM days d WHERE d.session BETWEEN s.first AND s.last)
), without AS (
    SELECT h.symbol, d.session, d.number - row_number() OVER (PARTITION BY h.symbol ORDER BY d.session) AS run
    FROM holed h JOIN days d ON d.session BETWEEN h.first AND h.last
    WHERE NOT EXISTS (SELECT FROM bars b
                      WHERE b.symbol = h.symbol AND b.timeframe = 'day' AND b.session = d.session)
)
SELECT symbol, min(session) AS first, max(session) AS last, count(*) AS count
FROM without GROUP BY symbol, run ORDER BY symbol, 2;

-- name: bars_on_closed_days
-- Daily bars of days inside the calendar that are no sessions.
SELECT symbol, session FROM bars
WHERE timeframe = 'day' AND session <> ALL (CAST(:sessions AS date[]))
ORDER BY session, symbol;

-- name: suspicious_bars
-- Daily bars that moved too far for what is known of their day, that stand alone between two others, that nobody
-- traded, and corrections that changed a close by much.
WITH factors AS (
    SELECT a.symbol, a.session,
           exp(sum(ln(CASE a.kind WHEN 'split' THEN a.old_units / a.new_units ELSE 1 END))) AS ratio,
           sum(CASE a.kind WHEN 'dividend' THEN a.cash_per_unit ELSE 0 END) AS paid
    FROM corporate_actions a WHERE a.kind IN ('split', 'dividend') AND a.withdrawn_at IS NULL
    GROUP BY a.symbol, a.session
), steps AS (
    SELECT b.symbol, b.session, b.close, b.volume,
           (lag(b.close) OVER w - coalesce(f.paid, 0)) * coalesce(f.ratio, 1) AS before,
           lead(b.close) OVER w AS after, lead(f.ratio) OVER w AS ratio_after
    FROM bars b LEFT JOIN factors f USING (symbol, session)
    WHERE b.timeframe = 'day'
    WINDOW w AS (PARTITION BY b.symbol ORDER BY b.session)
), judged AS (
    SELECT *, abs(close / before - 1) > :spike AND abs(close / after - 1) > :spike
                  AND sign(close - before) = sign(close - after) AND ratio_after IS NULL AS is_spike
    FROM steps WHERE before > 0
), told AS (
    SELECT symbol, session, 'spike' AS what, close / before - 1 AS change FROM judged WHERE is_spike
    UNION ALL
    SELECT j.symbol, j.session, 'jump', j.close / j.before - 1 FROM judged j
    WHERE abs(j.close / j.before - 1) > :jump AND NOT coalesce(j.is_spike, false)
      AND NOT EXISTS (SELECT FROM judged s
                      WHERE s.is_spike AND s.symbol = j.symbol AND s.close = j.before AND s.session < j.session)
    UNION ALL
    SELECT symbol, session, 'no volume', NULL FROM bars WHERE timeframe = 'day' AND volume = 0
    UNION ALL
    SELECT symbol, session, 'correction', new_close / old_close - 1 FROM bar_revisions
    WHERE timeframe = 'day' AND abs(new_close / old_close - 1) > :revision
)
SELECT symbol, session, what, round(CAST(change AS numeric), 6) AS change FROM told
WHERE NOT EXISTS (SELECT FROM bar_acceptances a WHERE a.symbol = told.symbol AND a.session = told.session)
ORDER BY symbol, session, what;

-- name: accept_bar
-- A person looked at a bar that looks wrong, and it is right.
INSERT INTO bar_acceptances (symbol, session, reason, actor) VALUES (:symbol, :session, :reason, :actor)
ON CONFLICT (symbol, session) DO UPDATE SET reason = excluded.reason, actor = excluded.actor,
                                            accepted_at = clock_timestamp();

-- name: bars_version
-- Another text whenever a daily bar or a corporate action has come, changed or gone.
SELECT concat_ws('/', (SELECT count(session) FROM bars WHERE timeframe = 'day'),
                 (SELECT max(id) FROM bar_revisions),
                 (SELECT count(*) FROM corporate_actions),
                 (SELECT count(withdrawn_at) FROM corporate_actions),
                 (SELECT max(accepted_at) FROM bar_acceptances),
                 (SELECT max(updated_at) FROM positions WHERE quantity <> 0));
