-- ORDER BY with LIMIT is recomputed, with a reason; its input is small.
SELECT flight_day, origin, flights, minutes_late
FROM daily_figures
ORDER BY minutes_late DESC NULLS LAST, flight_day, origin
LIMIT 20
