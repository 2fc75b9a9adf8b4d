-- From version 1 to 2: roles and PINs, decisions, calibration, requests, comparisons. A CHECK can't be altered,
-- so the tables that get a new one are made anew; so is dataset, which had fewer columns at the beginning of version 1.

CREATE TEMP TABLE dataset_1 AS SELECT * FROM dataset;
CREATE TEMP TABLE annotator_1 AS SELECT * FROM annotator;
CREATE TEMP TABLE annotation_1 AS SELECT * FROM annotation;
DROP VIEW IF EXISTS current_label;
DROP VIEW IF EXISTS standing_annotation;
DROP MACRO TABLE IF EXISTS consensus;
DROP TABLE annotation;
DROP TABLE annotator;
DROP TABLE dataset;

CREATE TABLE dataset (
    dataset     TEXT PRIMARY KEY,
    root        TEXT NOT NULL,
    labels_per_image INTEGER CHECK (labels_per_image >= 1),
    repeat_share DOUBLE NOT NULL DEFAULT 0.05 CHECK (repeat_share BETWEEN 0 AND 0.5),
    indexed_at  TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    overlaps_at TIMESTAMPTZ
);

CREATE TABLE annotator (
    annotator   TEXT PRIMARY KEY,
    simulated   BOOLEAN NOT NULL,
    role        TEXT NOT NULL DEFAULT 'annotator' CHECK (role IN ('annotator', 'lead')),
    pin_hash    TEXT,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE TABLE annotation (
    seq         BIGINT NOT NULL DEFAULT nextval('annotation_seq'),
    id          UUID PRIMARY KEY,
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    annotator   TEXT NOT NULL,
    action      TEXT NOT NULL CHECK (action IN ('label', 'undo', 'skip', 'flag', 'note', 'decide')),
    level       TEXT CHECK (level IN ('easy', 'medium', 'hard')),
    note        TEXT CHECK (length(note) <= 10000),
    undoes      UUID,
    source      TEXT NOT NULL CHECK (source IN ('sort', 'team', 'import', 'simulate')),
    shown_at    TIMESTAMPTZ,
    answered_at TIMESTAMPTZ NOT NULL,
    seconds     DOUBLE CHECK (seconds >= 0),
    repeat      BOOLEAN NOT NULL DEFAULT false,
    batch       UUID,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

INSERT INTO dataset BY NAME SELECT * FROM dataset_1;
INSERT INTO annotator BY NAME SELECT * FROM annotator_1;
INSERT INTO annotation BY NAME SELECT * FROM annotation_1 ORDER BY seq;
DROP TABLE dataset_1;
DROP TABLE annotator_1;
DROP TABLE annotation_1;

CREATE VIEW standing_annotation AS
SELECT * FROM annotation AS event
WHERE action <> 'undo' AND NOT EXISTS (SELECT 1 FROM annotation AS later WHERE later.undoes = event.id);

CREATE VIEW current_label AS
SELECT dataset, example, annotator, level, seq, answered_at, seconds, source,
       starts_with(annotator, 'simulated-') AS simulated
FROM standing_annotation
WHERE action = 'label' AND NOT repeat
QUALIFY row_number() OVER (PARTITION BY dataset, example, annotator ORDER BY seq DESC) = 1;

CREATE VIEW decision AS
SELECT dataset, example, annotator AS decided_by, level, note AS reason, seq, answered_at AS decided_at
FROM (SELECT * FROM annotation WHERE action = 'decide'
      QUALIFY row_number() OVER (PARTITION BY dataset, example ORDER BY seq DESC) = 1)
WHERE level IS NOT NULL;

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
       END AS votes,
       coalesce(annotators, 0) AS annotators,
       decided.level IS NOT NULL AS decided
FROM majority FULL JOIN decided USING (example);

CREATE TABLE calibration_image (
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    part        TEXT NOT NULL CHECK (part IN ('anchor', 'practice')),
    added_by    TEXT NOT NULL,
    added_at    TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    PRIMARY KEY (dataset, example)
);

CREATE TABLE practice_answer (
    id          UUID PRIMARY KEY,
    dataset     TEXT NOT NULL,
    annotator   TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    example     TEXT NOT NULL,
    level       TEXT NOT NULL CHECK (level IN ('easy', 'medium', 'hard')),
    decided     TEXT NOT NULL CHECK (decided IN ('easy', 'medium', 'hard')),
    answered_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE TABLE request (
    dataset      TEXT NOT NULL,
    example      TEXT NOT NULL,
    what         TEXT NOT NULL CHECK (what IN ('opinion', 'compare')),
    people       INTEGER NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    PRIMARY KEY (dataset, example, what)
);

CREATE SEQUENCE comparison_seq;

CREATE TABLE comparison (
    seq         BIGINT NOT NULL DEFAULT nextval('comparison_seq'),
    id          UUID PRIMARY KEY,
    dataset     TEXT NOT NULL,
    annotator   TEXT NOT NULL,
    examples    TEXT[] NOT NULL,
    hardest     TEXT,
    easiest     TEXT,
    adaptive    BOOLEAN NOT NULL,
    undoes      UUID,
    shown_at    TIMESTAMPTZ,
    answered_at TIMESTAMPTZ NOT NULL,
    seconds     DOUBLE CHECK (seconds >= 0),
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);

CREATE TABLE overlap (
    dataset     TEXT NOT NULL,
    example     TEXT NOT NULL,
    other       TEXT NOT NULL,
    score       DOUBLE NOT NULL,
    area        DOUBLE NOT NULL,
    scale       DOUBLE NOT NULL,
    rotation    DOUBLE NOT NULL,
    PRIMARY KEY (dataset, example, other)
);
