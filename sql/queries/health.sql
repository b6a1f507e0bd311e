-- name: server_state
-- Which PostgreSQL answers, and what time it has.
SELECT CAST(current_setting('server_version_num') AS integer) AS version_number,
       current_setting('server_version') AS version, clock_timestamp() AS now;
