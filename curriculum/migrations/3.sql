-- From version 2 to 3: what people call a run and note of it.

ALTER TABLE run ADD COLUMN title TEXT;
ALTER TABLE run ADD COLUMN note TEXT;
