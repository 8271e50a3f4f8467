-- A random name, by which a copy of a job elsewhere knows that this is the store it was enqueued with. One line.
CREATE TABLE backburner_identity (
    line INTEGER PRIMARY KEY CHECK (line = 1),
    name TEXT NOT NULL
) STRICT;
