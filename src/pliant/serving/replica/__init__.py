"""The processes of a service that hold its model: the template and its forks, the replicas. Only they have torch."""
