-- A random name, by which a copy of a job elsewhere knows that this is the store it was enqueued with. One line.
CREATE TABLE {schema}.identity (
    line boolean PRIMARY KEY DEFAULT true CHECK (line),
    name text NOT NULL DEFAULT gen_random_uuid()
);
