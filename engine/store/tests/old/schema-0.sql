-- A project's database as version 0 wrote it: a row for every point, times in seconds.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    method TEXT NOT NULL,
    status TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_secs INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    max_steps INTEGER NOT NULL,
    best_step INTEGER NOT NULL,
    base_loss REAL, final_loss REAL, best_loss REAL,
    adapter TEXT
);
CREATE TABLE points (
    run INTEGER NOT NULL REFERENCES runs(id),
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    value REAL
);
CREATE INDEX points_by_name ON points(run, name, step);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs(id),
    at_secs INTEGER NOT NULL,
    step INTEGER NOT NULL,
    json TEXT NOT NULL
);
INSERT INTO runs VALUES
    (1, 'runs/0001', 'lora', 'finished', 'schema = 0', 1764000000, 42, 3000, 3000, 2000, 3.25, 2.75, 2.5, 'runs/0001/best'),
    (2, 'runs/0002', 'full', 'failed', 'schema = 0', 1764003600, 43, 2, 100, 0, 3.25, NULL, NULL, NULL);
INSERT INTO points(run, name, step, value)
    WITH RECURSIVE steps(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM steps WHERE step < 3000)
    SELECT 1, 'train_loss', step, CASE WHEN step = 1500 THEN NULL ELSE 3.0 - step / 3000.0 END FROM steps;
INSERT INTO points VALUES (1, 'loss/validation', 0, 3.25), (1, 'loss/validation', 2000, 2.5), (2, 'train_loss', 1, 3.0),
    (2, 'train_loss', 2, 9.0);
INSERT INTO events VALUES
    (1, 1, 1764000001, 0, '{"event":"eval","step":0,"split":"validation","loss":3.25,"best":true}'),
    (2, 1, 1764000900, 2000, '{"event":"checkpoint","step":2000,"path":"runs/0001/checkpoints/2000"}'),
    (5, 2, 1764003601, 2, '{"event":"warning","code":"spike","text":"the loss jumped"}');
PRAGMA user_version = 0;
