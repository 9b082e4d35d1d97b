"""The pages that are no tables: the dashboard, live requests, what the site announces. Above the gateway, in whose
processes they run: what they show of requests and engines is heard on the connections that it has anyway."""
