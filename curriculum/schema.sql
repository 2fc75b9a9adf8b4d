-- The team's database, schema version 3. store.py runs this file on a new database, migrations/ lifts an older one to the same.
-- Singular nouns are tables; nothing here is ever computed by a training process.

CREATE TABLE schema_version (
    version     INTEGER NOT NULL,               -- of this file, and of the latest in migrations/
    applied_at  TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE TABLE dataset (
    dataset     TEXT PRIMARY KEY,               -- the name that every command and page uses
    root        TEXT NOT NULL,                  -- folder of class folders; relative to the home where it lies inside
    labels_per_image INTEGER CHECK (labels_per_image >= 1), -- how many people sort each image; NULL: everybody
    repeat_share DOUBLE NOT NULL DEFAULT 0.05 CHECK (repeat_share BETWEEN 0 AND 0.5), -- of an annotator's images, asked a second time
    indexed_at  TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    overlaps_at TIMESTAMPTZ                     -- when overlapping images were looked for; NULL: not since files came or changed
);

CREATE TABLE example (
    dataset       TEXT NOT NULL,
    example       TEXT NOT NULL,                -- "<class folder>/<file>", unique in its data set
    class         TEXT NOT NULL,                -- name of the class folder
    width         INTEGER NOT NULL,             -- pixels, as displayed (EXIF rotation applied)
    height        INTEGER NOT NULL,
    bytes         BIGINT NOT NULL,
    mtime_ns      BIGINT NOT NULL,              -- with bytes: tells whether the file must be read again
    sha256        TEXT NOT NULL,                -- of the file's bytes; key of the image and feature caches
    format        TEXT NOT NULL,                -- JPEG, PNG, TIFF or WEBP
    overlap_group INTEGER,                      -- images of the same ground share one; NULL: stands alone
    present       BOOLEAN NOT NULL DEFAULT true,-- false: the file has gone, its labels are kept
    PRIMARY KEY (dataset, example)
);

CREATE TABLE overlap (                          -- two images of the same ground; overlap_group follows from them
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    other       TEXT NOT NULL,                  -- sorts after example
    score       DOUBLE NOT NULL,                -- correlation of the grey values where they overlap, 0 to 1, 1: the same
    area        DOUBLE NOT NULL,                -- share of the other that example covers, 0 to 1
    scale       DOUBLE NOT NULL,                -- of example in the other
    rotation    DOUBLE NOT NULL,                -- degrees
    PRIMARY KEY (dataset, example, other)
);

CREATE TABLE rejected_file (
    dataset     TEXT NOT NULL,
    path        TEXT NOT NULL,                  -- relative to the data set's folder
    reason      TEXT NOT NULL                   -- a sentence for people
);

CREATE TABLE annotator (
    annotator   TEXT PRIMARY KEY,               -- the name given when first signing in
    simulated   BOOLEAN NOT NULL,               -- true only for names that begin with 'simulated-'
    role        TEXT NOT NULL DEFAULT 'annotator' CHECK (role IN ('annotator', 'lead')),
    pin_hash    TEXT,                           -- Argon2id; 'provider ...': signs in there, has no PIN; NULL: none chosen yet
    created_at  TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE SEQUENCE annotation_seq;

CREATE TABLE annotation (                       -- append-only: rows are never updated or deleted
    seq         BIGINT NOT NULL DEFAULT nextval('annotation_seq'), -- the log's order (clocks may go back)
    id          UUID PRIMARY KEY,               -- made where the key was pressed: a repeat is stored once
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    annotator   TEXT NOT NULL,
    action      TEXT NOT NULL CHECK (action IN ('label', 'undo', 'skip', 'flag', 'note', 'decide')), -- decide: a lead's word on an image, above all votes; without a level: no more
    level       TEXT CHECK (level IN ('easy', 'medium', 'hard')), -- of a label or a decision; of an undo: what is in force again, NULL: none
    note        TEXT CHECK (length(note) <= 10000), -- of a note: its words; of a flag: 'wrong class' or 'broken image'; of a decision: its reason
    undoes      UUID,                           -- the event that an undo takes back
    source      TEXT NOT NULL CHECK (source IN ('sort', 'team', 'import', 'simulate')), -- team: the lead's page
    shown_at    TIMESTAMPTZ,                    -- when the image was shown, if known
    answered_at TIMESTAMPTZ NOT NULL,           -- when the person answered
    seconds     DOUBLE CHECK (seconds >= 0),    -- from paint to key, hidden time left out; NULL where it isn't known
    repeat      BOOLEAN NOT NULL DEFAULT false, -- done when the image was asked a second time: never changes the label
    batch       UUID,                           -- of the grid: shared by all events of one key press, no time of its own; NULL: one by one
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

-- What was judged and not taken back.
CREATE VIEW standing_annotation AS
SELECT * FROM annotation
WHERE action <> 'undo' AND id NOT IN (SELECT undoes FROM annotation WHERE undoes IS NOT NULL);

-- The label in force of each annotator: the latest that stands. Skips, flags, notes and repeats change no label.
CREATE VIEW current_label AS
SELECT dataset, example, annotator, level, seq, answered_at, seconds, source,
       starts_with(annotator, 'simulated-') AS simulated
FROM standing_annotation
WHERE action = 'label' AND NOT repeat
QUALIFY row_number() OVER (PARTITION BY dataset, example, annotator ORDER BY seq DESC) = 1;

-- What a lead decided, the latest word on each image.
CREATE VIEW decision AS
SELECT dataset, example, annotator AS decided_by, level, note AS reason, seq, answered_at AS decided_at
FROM (SELECT * FROM annotation WHERE action = 'decide'
      QUALIFY row_number() OVER (PARTITION BY dataset, example ORDER BY seq DESC) = 1)
WHERE level IS NOT NULL;

-- The agreed level of each labelled example: what a lead decided; else the majority; where levels tie, the harder one,
-- because doubt about an image is difficulty. who: 'people', 'simulated', 'all' or one annotator's name; decisions
-- count for people and all.
CREATE MACRO consensus(which, who) AS TABLE
WITH vote AS (
    SELECT example, level, count(*) AS votes
    FROM current_label
    WHERE dataset = which
      AND CASE who WHEN 'all' THEN true WHEN 'people' THEN NOT simulated
                   WHEN 'simulated' THEN simulated ELSE annotator = who END
    GROUP BY example, level
), majority AS (
    SELECT example,
           arg_max(level, votes * 3 + list_position(['easy', 'medium', 'hard'], level)) AS level,
           max(votes)::INTEGER AS votes,
           sum(votes)::INTEGER AS annotators
    FROM vote
    GROUP BY example
), decided AS (
    SELECT example, level FROM decision WHERE dataset = which AND who IN ('people', 'all')
)
SELECT example,
       coalesce(decided.level, majority.level) AS level,
       CASE WHEN decided.level IS NULL OR decided.level = majority.level THEN votes
            ELSE (SELECT coalesce(sum(votes), 0)::INTEGER FROM vote WHERE vote.example = decided.example AND vote.level = decided.level)
       END AS votes,                            -- for that level
       coalesce(annotators, 0) AS annotators,
       decided.level IS NOT NULL AS decided
FROM majority FULL JOIN decided USING (example);

-- The images that show an annotator what the levels mean, with the level that a lead decided. Nobody is asked to sort them.
CREATE TABLE calibration_image (
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    part        TEXT NOT NULL CHECK (part IN ('anchor', 'practice')), -- shown with its level, or asked with feedback
    added_by    TEXT NOT NULL,
    added_at    TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    PRIMARY KEY (dataset, example)
);

CREATE TABLE practice_answer (                  -- never a label
    id          UUID PRIMARY KEY,
    dataset     TEXT NOT NULL,
    annotator   TEXT NOT NULL,
    attempt     INTEGER NOT NULL,               -- 1, 2, ... of this annotator on this data set
    example     TEXT NOT NULL,
    level       TEXT NOT NULL CHECK (level IN ('easy', 'medium', 'hard')), -- the annotator's
    decided     TEXT NOT NULL CHECK (decided IN ('easy', 'medium', 'hard')), -- the lead's, at that time
    answered_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE TABLE request (                          -- what a lead asks of the team about an image
    dataset      TEXT NOT NULL,
    example      TEXT NOT NULL,
    what         TEXT NOT NULL CHECK (what IN ('opinion', 'compare')), -- one more person's level, or a place among four
    people       INTEGER NOT NULL,              -- whose label it had then: one more answers a wish for an opinion
    requested_by TEXT NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    PRIMARY KEY (dataset, example, what)
);

CREATE SEQUENCE comparison_seq;

CREATE TABLE comparison (                       -- append-only: which of four images is the hardest and which the easiest
    seq         BIGINT NOT NULL DEFAULT nextval('comparison_seq'),
    id          UUID PRIMARY KEY,
    dataset     TEXT NOT NULL,
    annotator   TEXT NOT NULL,
    examples    TEXT[] NOT NULL,                -- the four, as they stood on the page; of an undo: of what it takes back
    hardest     TEXT,                           -- one of them; NULL: an undo
    easiest     TEXT,                           -- another of them; NULL: an undo
    adaptive    BOOLEAN NOT NULL,               -- chosen where the scale was uncertain; false: drawn by chance, which reliability is measured on
    undoes      UUID,                           -- the comparison that an undo takes back
    shown_at    TIMESTAMPTZ,
    answered_at TIMESTAMPTZ NOT NULL,
    seconds     DOUBLE CHECK (seconds >= 0),    -- from paint to the second choice, hidden time left out
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE TABLE run (
    run_id      TEXT PRIMARY KEY,               -- also the name of its directory under data/runs
    kind        TEXT NOT NULL,                  -- train or score
    dataset     TEXT NOT NULL,
    mode        TEXT NOT NULL,                  -- a training mode, or a scoring method
    protocol    TEXT,                           -- honest or report; NULL for scores
    seed        INTEGER NOT NULL,
    config      JSON NOT NULL,                  -- config.json as it was
    state       TEXT NOT NULL,                  -- queued, running, done, failed, cancelled, interrupted
    message     TEXT,                           -- what went wrong, for people
    created_at  TIMESTAMPTZ NOT NULL,
    seconds     DOUBLE,                         -- worked so far, pauses left out
    result      JSON,                           -- result.json as it was; NULL until there is one
    title       TEXT,                           -- about.json: what people call it; NULL: nothing
    note        TEXT                            -- about.json: what people note of it
);

CREATE TABLE epoch (                            -- one row a line of epochs.jsonl
    run_id                TEXT NOT NULL,
    epoch                 INTEGER NOT NULL,     -- 1, 2, ...
    stage                 TEXT NOT NULL,        -- easy, easy+medium, all; self-paced: 'self-paced'
    subset_size           INTEGER NOT NULL,     -- training images in this epoch
    learning_rate         DOUBLE NOT NULL,
    train_loss            DOUBLE,               -- cross-entropy over this epoch's subset, eval mode, after the epoch
    train_accuracy        DOUBLE,               -- 0 to 1, the same images
    val_loss              DOUBLE,
    val_accuracy          DOUBLE,
    val_knn               DOUBLE,               -- 0 to 1: mean share of the k nearest others of the same class
    test_loss             DOUBLE,               -- protocol report only: honest runs read test once, at the end
    test_accuracy         DOUBLE,
    test_knn              DOUBLE,
    seconds               DOUBLE NOT NULL,
    images_per_second     DOUBLE NOT NULL,      -- of the training pass alone
    samples_seen          BIGINT NOT NULL       -- by the optimizer since the run began
);

CREATE TABLE prediction (                       -- the chosen model's, for every example of every split
    run_id           TEXT NOT NULL,
    dataset          TEXT NOT NULL,
    example          TEXT NOT NULL,
    split            TEXT NOT NULL,             -- train, val, test
    class            TEXT NOT NULL,
    predicted        TEXT NOT NULL,
    probability      DOUBLE NOT NULL,           -- of the predicted class
    probability_true DOUBLE NOT NULL,           -- of the true class
    loss             DOUBLE NOT NULL,           -- cross-entropy, nats
    probabilities    FLOAT[] NOT NULL           -- in the order of the run's classes (sorted by name)
);

CREATE TABLE score (
    run_id      TEXT NOT NULL,                  -- the scoring run
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    method      TEXT NOT NULL,                  -- oof_loss or loss
    seed        INTEGER NOT NULL,
    value       DOUBLE NOT NULL,                -- the raw measure, higher = harder
    difficulty  DOUBLE NOT NULL,                -- its rank scaled to 0..1, ties share the mean, higher = harder
    predicted   TEXT NOT NULL,                  -- by the model that judged (out of fold for oof_loss)
    probability_true DOUBLE NOT NULL,
    probabilities FLOAT[] NOT NULL              -- in the order of the data set's classes
);
