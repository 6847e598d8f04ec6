-- after: keys
--
-- Deletes ended executions that the tables have by now. ARGV: their fields, 20 bytes each, in one string, because a client takes its
-- time for each argument.

local fields, n = {}, 0
for at = 1, #ARGV[1], 20 do
  n = n + 1
  fields[n] = string.sub(ARGV[1], at, at + 19)
end
in_pieces('HDEL', UNRECORDED, fields)
