-- Lists the models that at least one live worker serves.
--
-- Arguments:
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: one JSON text for each model in each pool, as it was announced last
remove_silent_workers(silent_s)
return redis.call('HVALS', key('models', 'latest'))
