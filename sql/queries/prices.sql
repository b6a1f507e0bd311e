-- name: wanted_symbols
-- Every symbol that is held, being traded, in an enabled strategy's universe, or alerted.
SELECT symbol FROM positions WHERE quantity <> 0
UNION
SELECT symbol FROM trades WHERE status IN ('pending', 'submitting', 'submitted', 'partially_filled')
UNION
SELECT jsonb_array_elements_text(s.definition -> 'universe')
FROM strategies s JOIN portfolios p ON p.id = s.portfolio_id AND p.is_active WHERE s.is_enabled
UNION
SELECT symbol FROM price_alerts WHERE status = 'active'
ORDER BY 1;

-- name: hold_quotes
-- One batch is merged at a time: two that touched the same rows in another order would end in a deadlock.
SELECT pg_advisory_xact_lock(hashtext('quotes'));

-- name: merge_quotes
-- Takes over every quote that is not older than ours; what is quoted for the first time becomes an instrument.
-- Tells the symbols taken over, and those of them whose price is another than before. Known symbols are updated
-- by a join, which takes half of the time of an upsert; those that come in between end up in the upsert.
WITH incoming AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:symbols AS text[]), CAST(:prices AS numeric[]), CAST(:bids AS numeric[]),
                         CAST(:asks AS numeric[]), CAST(:previous_closes AS numeric[]),
                         CAST(:quoted_at AS timestamptz[]), CAST(:sources AS text[]))
         AS i (symbol, price, bid, ask, previous_close, quoted_at, source)
), taken AS (
    UPDATE quotes q
    SET price = i.price, bid = i.bid, ask = i.ask, previous_close = i.previous_close,
        quoted_at = i.quoted_at, received_at = :received_at, source = i.source
    FROM incoming i JOIN quotes before ON before.symbol = i.symbol
    WHERE q.symbol = i.symbol AND i.quoted_at >= q.quoted_at
    RETURNING q.symbol, q.price <> before.price AS is_changed
), new AS (
    SELECT i.* FROM incoming i WHERE NOT EXISTS (SELECT FROM quotes q WHERE q.symbol = i.symbol)
), named AS (
    INSERT INTO instruments (symbol) SELECT symbol FROM new ORDER BY symbol
    ON CONFLICT (symbol) DO NOTHING
), added AS (
    INSERT INTO quotes AS q (symbol, price, bid, ask, previous_close, quoted_at, received_at, source)
    SELECT symbol, price, bid, ask, previous_close, quoted_at, :received_at, source FROM new ORDER BY symbol
    ON CONFLICT (symbol) DO UPDATE
    SET price = excluded.price, bid = excluded.bid, ask = excluded.ask,
        previous_close = excluded.previous_close, quoted_at = excluded.quoted_at,
        received_at = excluded.received_at, source = excluded.source
    WHERE excluded.quoted_at >= q.quoted_at
    RETURNING symbol, true AS is_changed
)
SELECT coalesce(array_agg(symbol ORDER BY symbol), '{}') AS updated,
       coalesce(array_agg(symbol ORDER BY symbol) FILTER (WHERE is_changed), '{}') AS changed
FROM (SELECT * FROM taken UNION ALL SELECT * FROM added) merged;

-- name: mark_positions
-- Gives held positions the newest price. One that is being changed just now is marked by whoever changes it:
-- to wait for it, without its portfolio, could end in a deadlock.
WITH held AS (
    SELECT portfolio_id, symbol FROM positions WHERE quantity <> 0 FOR NO KEY UPDATE SKIP LOCKED)
UPDATE positions p SET market_price = q.price, marked_at = q.quoted_at
FROM held h JOIN quotes q ON q.symbol = h.symbol
WHERE p.portfolio_id = h.portfolio_id AND p.symbol = h.symbol
  AND (p.market_price IS DISTINCT FROM q.price OR p.marked_at IS DISTINCT FROM q.quoted_at);

-- name: quotes
-- The newest quotes of some symbols (NULL: of all).
SELECT symbol, price, bid, ask, previous_close, quoted_at, received_at, source
FROM quotes
WHERE CAST(:symbols AS text[]) IS NULL OR symbol = ANY(CAST(:symbols AS text[]))
ORDER BY symbol;

-- name: newest_quote_at
-- Of when the newest quote of any symbol is.
SELECT max(quoted_at) FROM quotes;

-- name: stored_quotes
-- What our own bars say a symbol cost at an instant: the close of a bar that is complete, or the open of
-- the one that has begun; minute bars before daily ones.
SELECT s.symbol,
       CASE WHEN b.ends_at <= :at THEN b.close ELSE b.open END AS price,
       CASE WHEN b.ends_at <= :at THEN b.ends_at ELSE b.starts_at END AS quoted_at,
       (SELECT d.close FROM bars d
        WHERE d.symbol = s.symbol AND d.timeframe = 'day' AND d.session < b.session
        ORDER BY d.starts_at DESC LIMIT 1) AS previous_close
FROM unnest(CAST(:symbols AS text[])) AS s (symbol)
CROSS JOIN LATERAL (
    SELECT * FROM (
        (SELECT * FROM bars WHERE symbol = s.symbol AND timeframe = 'minute' AND starts_at <= :at
         ORDER BY starts_at DESC LIMIT 1)
        UNION ALL
        (SELECT * FROM bars WHERE symbol = s.symbol AND timeframe = 'day' AND starts_at <= :at
         ORDER BY starts_at DESC LIMIT 1)
    ) newest
    ORDER BY session DESC, timeframe DESC LIMIT 1
) b
ORDER BY s.symbol;

-- name: bars
-- Bars of some symbols that start in [start, end), by symbol and time.
SELECT symbol, timeframe, session, starts_at, ends_at, open, high, low, close, volume, source
FROM bars
WHERE symbol = ANY(CAST(:symbols AS text[])) AND timeframe = CAST(:timeframe AS bar_timeframe)
  AND starts_at >= :start AND starts_at < :end
ORDER BY symbol, starts_at;

-- name: histories
-- The last bars of each symbol that are complete at an instant, as arrays, oldest first.
SELECT s.symbol, h.first_session, h.closes, h.highs, h.lows, h.volumes
FROM unnest(CAST(:symbols AS text[])) AS s (symbol)
CROSS JOIN LATERAL (
    SELECT array_agg(CAST(close AS float8) ORDER BY starts_at) AS closes,
           array_agg(CAST(high AS float8) ORDER BY starts_at) AS highs,
           array_agg(CAST(low AS float8) ORDER BY starts_at) AS lows,
           array_agg(CAST(volume AS float8) ORDER BY starts_at) AS volumes, min(session) AS first_session
    FROM (SELECT starts_at, session, close, high, low, volume FROM bars
          WHERE symbol = s.symbol AND timeframe = CAST(:timeframe AS bar_timeframe) AND ends_at <= :at
          ORDER BY starts_at DESC LIMIT :count) newest
) h
WHERE h.closes IS NOT NULL;

-- name: closes_between
-- The official closes of some symbols in the sessions between two dates (inclusive).
SELECT symbol, session, close FROM bars
WHERE timeframe = 'day' AND symbol = ANY(CAST(:symbols AS text[]))
  AND session BETWEEN CAST(:first AS date) AND CAST(:last AS date);

-- name: closes_before
-- The last official close of each symbol before a session of its own.
SELECT n.symbol, n.session, b.close, b.session AS of_session
FROM unnest(CAST(:symbols AS text[]), CAST(:sessions AS date[])) AS n (symbol, session)
CROSS JOIN LATERAL (
    SELECT close, session FROM bars
    WHERE timeframe = 'day' AND symbol = n.symbol AND session < n.session
    ORDER BY session DESC LIMIT 1
) b;

-- name: last_minute_closes
-- The close of each symbol's last minute bar in a session of its own.
SELECT n.symbol, n.session, b.close
FROM unnest(CAST(:symbols AS text[]), CAST(:sessions AS date[])) AS n (symbol, session)
CROSS JOIN LATERAL (
    SELECT close FROM bars
    WHERE timeframe = 'minute' AND session = n.session AND symbol = n.symbol
    ORDER BY starts_at DESC LIMIT 1
) b;

-- name: known_symbols
-- Which of these symbols are instruments, and whether parts of a share can be traded.
SELECT symbol, is_tradable, is_fractionable FROM instruments
WHERE symbol = ANY(CAST(:symbols AS text[]));

-- name: insert_instruments
-- Adds the symbols that are new.
INSERT INTO instruments (symbol)
SELECT DISTINCT symbol FROM unnest(CAST(:symbols AS text[])) AS s (symbol) ORDER BY symbol
ON CONFLICT (symbol) DO NOTHING;

-- name: set_whole_shares_only
-- A broker refused a fraction of it.
UPDATE instruments SET is_fractionable = false WHERE symbol = :symbol AND is_fractionable;

-- name: create_incoming_bars
-- Where COPY puts a file before it is merged.
CREATE TEMPORARY TABLE incoming_bars (LIKE bars INCLUDING DEFAULTS) ON COMMIT DROP;

-- name: keep_bars_as_they_are
-- Lets nobody write bars until the transaction ends.
LOCK TABLE bars IN SHARE MODE;

-- name: merge_bars
-- Takes over bars; one that is there already and says the same is not touched.
WITH merged AS (
    INSERT INTO bars AS b (symbol, timeframe, starts_at, ends_at, session, open, high, low, close, volume,
                           source)
    SELECT symbol, timeframe, starts_at, ends_at, session, open, high, low, close, volume, source
    FROM incoming_bars ORDER BY symbol, timeframe, starts_at
    ON CONFLICT (symbol, timeframe, starts_at) DO UPDATE
    SET ends_at = excluded.ends_at, open = excluded.open, high = excluded.high, low = excluded.low,
        close = excluded.close, volume = excluded.volume, source = excluded.source, imported_at = now()
    WHERE (b.open, b.high, b.low, b.close, b.volume)
          IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
    RETURNING (xmax = 0) AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS added, count(*) FILTER (WHERE NOT is_new) AS corrected FROM merged;

-- name: revise_bars
-- Keeps what the bars that are about to change said, and holds them until they have changed.
INSERT INTO bar_revisions (symbol, timeframe, starts_at, session, old_open, old_high, old_low, old_close,
                           old_volume, old_source, new_open, new_high, new_low, new_close, new_volume, source)
SELECT b.symbol, b.timeframe, b.starts_at, b.session, b.open, b.high, b.low, b.close, b.volume, b.source,
       i.open, i.high, i.low, i.close, i.volume, i.source
FROM bars b JOIN incoming_bars i USING (symbol, timeframe, starts_at)
WHERE (b.open, b.high, b.low, b.close, b.volume) IS DISTINCT FROM (i.open, i.high, i.low, i.close, i.volume)
ORDER BY b.symbol, b.timeframe, b.starts_at
FOR UPDATE OF b;

-- name: bar_revisions
-- What bars said before they were corrected, the newest first; of a symbol and a session, or (NULL) of all.
SELECT symbol, timeframe, session, starts_at, old_close, new_close, old_source, source, revised_at
FROM bar_revisions
WHERE (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
  AND (CAST(:session AS date) IS NULL OR session = :session)
ORDER BY id DESC
LIMIT :limit;

-- name: bar_coverage
-- What bars there are: first and last session and count of each symbol and timeframe.
SELECT symbol, timeframe, min(session) AS first_session, max(session) AS last_session, count(*) AS bars
FROM bars GROUP BY symbol, timeframe ORDER BY symbol, timeframe;

-- name: session_bars
-- Every bar of a session, minutes before days, by time and symbol.
SELECT symbol, timeframe, session, starts_at, ends_at, open, high, low, close, volume, source
FROM bars
WHERE timeframe IN ('minute', 'day') AND session = :session
ORDER BY timeframe = 'day', starts_at, symbol;

-- name: sessions_with_bars
-- How many sessions in a range have bars.
SELECT count(DISTINCT session) FROM bars WHERE session BETWEEN :first AND :last;
