-- Splits, dividends, new symbols and delistings, and what they did to the books.

ALTER TYPE adjustment_cause ADD VALUE 'symbol_change';
ALTER TYPE adjustment_cause ADD VALUE 'delisting';

CREATE TYPE corporate_action_kind AS ENUM ('split', 'dividend', 'symbol_change', 'delisting');

CREATE TABLE corporate_actions (
    id               bigint                PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    kind             corporate_action_kind NOT NULL,
    symbol           text                  NOT NULL REFERENCES instruments,
    -- The first session that trades without what the action took away (the ex-date); effective before its open.
    session          date                  NOT NULL,
    effective_at     timestamptz           NOT NULL,
    -- When a dividend's cash comes.
    paid_at          timestamptz,
    -- When the books change.
    due_at           timestamptz           NOT NULL GENERATED ALWAYS AS (coalesce(paid_at, effective_at)) STORED,
    -- A split makes new_units of each old_units; fraction_price pays for one new unit of a fraction that goes.
    new_units        numeric(20,9),
    old_units        numeric(20,9),
    fraction_price   numeric(20,9),
    -- What a dividend or a delisting pays a unit; NULL with a delisting that nobody knows this of.
    cash_per_unit    numeric(20,9),
    is_special       boolean               NOT NULL DEFAULT false,
    new_symbol       text                  REFERENCES instruments,
    source           text                  NOT NULL,
    actor            text                  NOT NULL,
    recorded_at      timestamptz           NOT NULL DEFAULT clock_timestamp(),
    applied_at       timestamptz,
    withdrawn_at     timestamptz,
    withdrawn_by     text,
    withdrawn_reason text,
    CONSTRAINT a_split_has_a_ratio CHECK (
        (kind = 'split') = (new_units IS NOT NULL) AND (new_units IS NULL) = (old_units IS NULL)),
    CONSTRAINT split_units_are_positive_and_differ CHECK (new_units > 0 AND old_units > 0 AND new_units <> old_units),
    CONSTRAINT only_a_split_leaves_fractions CHECK (fraction_price IS NULL OR (kind = 'split' AND fraction_price > 0)),
    CONSTRAINT a_dividend_pays CHECK (kind <> 'dividend' OR (cash_per_unit IS NOT NULL AND cash_per_unit > 0)),
    CONSTRAINT cash_per_unit_is_not_negative CHECK (
        cash_per_unit IS NULL OR (kind IN ('dividend', 'delisting') AND cash_per_unit >= 0)),
    CONSTRAINT only_a_dividend_is_paid_later CHECK (
        paid_at IS NULL OR (kind = 'dividend' AND paid_at >= effective_at)),
    CONSTRAINT only_a_dividend_is_special CHECK (NOT is_special OR kind = 'dividend'),
    CONSTRAINT a_symbol_change_names_another_symbol CHECK (
        (kind = 'symbol_change') = (new_symbol IS NOT NULL) AND (new_symbol IS NULL OR new_symbol <> symbol)),
    CONSTRAINT withdrawn_with_actor_and_reason_or_not_at_all CHECK (
        (withdrawn_at IS NULL AND withdrawn_by IS NULL AND withdrawn_reason IS NULL)
        OR (withdrawn_at IS NOT NULL AND coalesce(withdrawn_by, '') <> '' AND coalesce(withdrawn_reason, '') <> '')),
    CONSTRAINT corporate_action_numbers_are_not_nan CHECK (
        'NaN' <> ALL (ARRAY[new_units, old_units, fraction_price, cash_per_unit]))
);
CREATE UNIQUE INDEX a_corporate_action_is_entered_once ON corporate_actions (symbol, kind, session, is_special)
    WHERE withdrawn_at IS NULL;
CREATE INDEX corporate_actions_to_apply ON corporate_actions (due_at)
    WHERE applied_at IS NULL AND withdrawn_at IS NULL;
CREATE INDEX corporate_actions_by_symbol ON corporate_actions (symbol, session) WHERE withdrawn_at IS NULL;
CREATE INDEX symbol_changes ON corporate_actions (new_symbol) WHERE new_symbol IS NOT NULL;

-- What was entered stays; it may be applied, and withdrawn, once each.
CREATE FUNCTION refuse_change_of_corporate_action() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    later text[] := ARRAY['due_at', 'applied_at', 'withdrawn_at', 'withdrawn_by', 'withdrawn_reason'];
BEGIN
    IF to_jsonb(NEW) - later = to_jsonb(OLD) - later
        AND (OLD.applied_at IS NULL OR NEW.applied_at = OLD.applied_at)
        AND (OLD.withdrawn_at IS NULL
             OR (NEW.withdrawn_at, NEW.withdrawn_by, NEW.withdrawn_reason)
                = (OLD.withdrawn_at, OLD.withdrawn_by, OLD.withdrawn_reason))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Withdraw the action, and enter it anew.';
END $$;
CREATE TRIGGER corporate_actions_stay_as_entered BEFORE UPDATE ON corporate_actions
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_corporate_action();
CREATE TRIGGER corporate_actions_are_append_only BEFORE DELETE OR TRUNCATE ON corporate_actions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

ALTER TABLE adjustments
    ADD COLUMN corporate_action_id bigint REFERENCES corporate_actions,
    -- 0 for what an action did first; later ones correct it where a fill from before it came in afterwards.
    ADD COLUMN revision integer NOT NULL DEFAULT 0,
    -- A split: more or fewer units, and what was paid for all of them stays.
    ADD COLUMN keeps_cost boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT a_kept_cost_has_units_and_no_unit_cost CHECK (
        NOT keeps_cost OR (quantity <> 0 AND unit_cost IS NULL)),
    ADD CONSTRAINT revision_is_not_negative CHECK (revision >= 0);
CREATE UNIQUE INDEX a_corporate_action_is_applied_once
    ON adjustments (corporate_action_id, portfolio_id, symbol, keeps_cost, revision)
    WHERE corporate_action_id IS NOT NULL;

-- What the paper broker has applied to an account, and what that did to its units and its cash.
CREATE TABLE paper.applied_actions (
    account_number      text        NOT NULL REFERENCES paper.accounts,
    corporate_action_id bigint      NOT NULL REFERENCES corporate_actions,
    applied_at          timestamptz NOT NULL,
    PRIMARY KEY (account_number, corporate_action_id)
);

CREATE TABLE paper.action_entries (
    account_number      text          NOT NULL,
    corporate_action_id bigint        NOT NULL,
    number              integer       NOT NULL,
    symbol              text          NOT NULL,
    quantity            numeric(20,9) NOT NULL,
    unit_cost           numeric(20,9),
    keeps_cost          boolean       NOT NULL,
    cash                numeric(24,9) NOT NULL,
    occurred_at         timestamptz   NOT NULL,
    PRIMARY KEY (account_number, corporate_action_id, number),
    FOREIGN KEY (account_number, corporate_action_id) REFERENCES paper.applied_actions ON DELETE CASCADE,
    CONSTRAINT action_entry_numbers_are_not_nan CHECK ('NaN' <> ALL (ARRAY[quantity, unit_cost, cash]))
);
CREATE INDEX action_entries_by_symbol ON paper.action_entries (account_number, symbol, occurred_at);
