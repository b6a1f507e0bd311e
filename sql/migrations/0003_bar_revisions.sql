-- What a bar said before it was corrected, and what it says since: who trusted the old close finds it here.
CREATE TABLE bar_revisions (
    id         bigint        PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    symbol     text          NOT NULL REFERENCES instruments,
    timeframe  bar_timeframe NOT NULL,
    starts_at  timestamptz   NOT NULL,
    session    date          NOT NULL,
    old_open   numeric(20,9) NOT NULL,
    old_high   numeric(20,9) NOT NULL,
    old_low    numeric(20,9) NOT NULL,
    old_close  numeric(20,9) NOT NULL,
    old_volume numeric(24,9) NOT NULL,
    old_source text          NOT NULL,
    new_open   numeric(20,9) NOT NULL,
    new_high   numeric(20,9) NOT NULL,
    new_low    numeric(20,9) NOT NULL,
    new_close  numeric(20,9) NOT NULL,
    new_volume numeric(24,9) NOT NULL,
    -- Who gave the new values.
    source     text          NOT NULL,
    revised_at timestamptz   NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT bar_revision_changes_the_bar CHECK (
        old_open <> new_open OR old_high <> new_high OR old_low <> new_low OR old_close <> new_close
        OR old_volume <> new_volume),
    CONSTRAINT bar_revision_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[old_open, old_high, old_low, old_close, old_volume,
                            new_open, new_high, new_low, new_close, new_volume]))
);
CREATE INDEX bar_revisions_by_bar ON bar_revisions (symbol, timeframe, session, id);
CREATE INDEX revised_closes ON bar_revisions (revised_at)
    WHERE timeframe = 'day' AND old_close <> new_close;

CREATE TRIGGER bar_revisions_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bar_revisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
