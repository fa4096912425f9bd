"""What people see of a job: the live view, plain lines, the summary and the report."""
