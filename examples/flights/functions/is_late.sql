-- What the airlines count as late: more than a quarter of an hour.
CREATE FUNCTION is_late(minutes double) RETURNS boolean RETURN minutes > 15
