-- The process that a run works in: machine, start of the machine, space of process ids, process id. NULL where
-- nobody can tell. The sweeper need not wait for the lease of one that is gone.
ALTER TABLE job_executions ADD COLUMN worker text;
