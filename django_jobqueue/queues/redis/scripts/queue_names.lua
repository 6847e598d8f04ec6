-- after: keys counts
--
-- Queues that have ready jobs, by name.

return names_in(READY)
