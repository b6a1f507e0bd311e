-- Bars that look wrong and are right: a person looked.
CREATE TABLE bar_acceptances (
    symbol      text        NOT NULL REFERENCES instruments,
    session     date        NOT NULL,
    reason      text        NOT NULL,
    actor       text        NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (symbol, session),
    CONSTRAINT acceptance_has_actor_and_reason CHECK (actor <> '' AND reason <> '')
);
