"""The trigger: turns hints (files, ended runs, schedules) into Glue job runs, at most one per job at a time."""
