-- From version 2 to 3: what people call a run and note of it; what stands is found twice as fast.

ALTER TABLE run ADD COLUMN title TEXT;
ALTER TABLE run ADD COLUMN note TEXT;

CREATE OR REPLACE VIEW standing_annotation AS
SELECT * FROM annotation
WHERE action <> 'undo' AND id NOT IN (SELECT undoes FROM annotation WHERE undoes IS NOT NULL);
