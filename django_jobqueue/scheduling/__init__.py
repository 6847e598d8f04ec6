"""What starts on time: schedules become rows, due rows become jobs, one for each tick."""
