-- Removes the announcement of a worker.
--
-- Arguments:
--   worker: text
-- Returns: nothing
remove_worker(worker)
