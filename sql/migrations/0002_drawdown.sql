-- How far a portfolio may fall below the highest value it has had, with money that came and went left out,
-- before it is halted. NULL is no limit.
ALTER TABLE portfolios ADD COLUMN max_drawdown_pct numeric(9,6);
ALTER TABLE portfolios ADD CONSTRAINT max_drawdown_pct_is_a_fraction
    CHECK (max_drawdown_pct > 0 AND max_drawdown_pct < 1);
