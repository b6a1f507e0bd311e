-- What at the broker explains a discrepancy: its ids of executions and activities. Each explains one adjustment
-- of a symbol, and one of cash, at most.
ALTER TABLE discrepancies ADD COLUMN evidence text[] NOT NULL DEFAULT '{}';

-- What was decided, and on what, is never changed afterwards.
CREATE TRIGGER decisions_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
