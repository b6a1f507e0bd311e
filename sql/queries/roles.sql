-- name: current_role
-- As whom this connection acts.
SELECT CAST(current_user AS text);

-- name: role_exists
-- Whether the server knows a role.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role);

-- name: append_only_tables
-- Tables that refuse changes by a trigger, and what each refuses: the bits are those of pg_trigger.tgtype.
SELECT n.nspname AS schema, c.relname AS name,
       array_remove(ARRAY[CASE WHEN bit_or(t.tgtype) & 16 > 0 THEN 'UPDATE' END,
                          CASE WHEN bit_or(t.tgtype) & 8 > 0 THEN 'DELETE' END,
                          CASE WHEN bit_or(t.tgtype) & 32 > 0 THEN 'TRUNCATE' END], NULL) AS refused
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname = 'refuse_change_of_ledger'
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
GROUP BY n.nspname, c.relname
ORDER BY n.nspname, c.relname;

-- name: changeable_append_only_tables
-- Append-only tables in which this connection's role may do what their triggers refuse.
SELECT c.relname
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname = 'refuse_change_of_ledger'
JOIN pg_class c ON c.oid = t.tgrelid
GROUP BY c.oid, c.relname
HAVING (bit_or(t.tgtype) & 16 > 0 AND has_table_privilege(c.oid, 'UPDATE'))
    OR (bit_or(t.tgtype) & 8 > 0 AND has_table_privilege(c.oid, 'DELETE'))
ORDER BY c.relname;

-- name: hold_roles
-- Whoever grants has this lock until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('grants'));

-- name: role_is_not_granted
-- Whether there is a table or a sequence that a role may not read or, if it is to, not write; or an append-only one
-- in which it could change something.
SELECT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (SELECT bit_or(t.tgtype) AS refused FROM pg_trigger t
                       JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname = 'refuse_change_of_ledger'
                       WHERE t.tgrelid = c.oid) append_only ON true
    WHERE n.nspname = ANY(CAST(:schemas AS text[])) AND (
        NOT has_schema_privilege(:role, n.oid, 'USAGE')
        OR (c.relkind = 'S' AND NOT has_sequence_privilege(:role, c.oid, 'SELECT'))
        OR (c.relkind IN ('r', 'p') AND (
            NOT has_table_privilege(:role, c.oid, 'SELECT')
            OR (CAST(:writes AS boolean) AND c.relname <> 'schema_migrations'
                AND NOT has_table_privilege(:role, c.oid, 'INSERT'))
            OR (append_only.refused & 16 > 0 AND has_table_privilege(:role, c.oid, 'UPDATE'))
            OR (append_only.refused & 8 > 0 AND has_table_privilege(:role, c.oid, 'DELETE'))))));
