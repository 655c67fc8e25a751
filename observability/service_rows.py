"""The rows that every service's board begins with: rate, errors and duration of its calls, and what its process uses."""

from observability.panels import Row, graph, number

ERRORS = "Unknown|Internal|Unavailable|DataLoss|DeadlineExceeded|ResourceExhausted"
"""The codes that are the service's fault; a refusal is none. TOO_FAST has one of them too: alerts leave it out."""


def calls(component: str) -> Row:
    """Rate, errors, duration (RED), and why calls were refused."""
    which = f'{{@, component="{component}"'
    return Row(
        "Calls",
        (
            graph(
                "Calls",
                "Calls a second, by method.",
                (f"sum by (grpc_method) (rate(grpc_server_handled_total{which}}}[$__rate_interval]))", "{{grpc_method}}"),
                unit="reqps",
            ),
            graph(
                "Errors",
                "Calls a second that failed by the service's fault, by method and code.",
                (
                    (
                        "sum by (grpc_method, grpc_code) (rate(grpc_server_handled_total"
                        f'{which}, grpc_code=~"{ERRORS}"}}[$__rate_interval])) > 0 or '
                        f'label_replace(sum(rate(grpc_server_handled_total{which}, grpc_code=~"{ERRORS}"}}'
                        '[$__rate_interval])), "grpc_method", "all", "", "")'
                    ),
                    "{{grpc_method}} {{grpc_code}}",
                ),
                unit="reqps",
            ),
            graph(
                "Duration",
                "How long all but one in a hundred calls take at most, by method; long-lived streams are left out.",
                (
                    (
                        "histogram_quantile(0.99, sum by (grpc_method, le) (rate(grpc_server_handling_seconds_bucket"
                        f"{which}}}[$__rate_interval])))"
                    ),
                    "{{grpc_method}}",
                ),
                unit="s",
            ),
            graph(
                "Refusals",
                "Calls a second that were refused, by reason.",
                (f"sum by (reason) (rate(consilium_rpc_refused_total{which}}}[$__rate_interval]))", "{{reason}}"),
                unit="reqps",
            ),
        ),
    )


def process(component: str) -> Row:
    """What the process uses, and how long its certificate lasts."""
    which = f'{{@, component="{component}"}}'
    return Row(
        "Process",
        (
            graph("CPU", "Cores in use.", (f"rate(process_cpu_seconds_total{which}[$__rate_interval])", "{{member}}")),
            graph("Memory", "Resident memory.", (f"process_resident_memory_bytes{which}", "{{member}}"), unit="bytes"),
            graph(
                "Event loop",
                "How late the event loop comes in all but one of a hundred looks.",
                (
                    (
                        "histogram_quantile(0.99, sum by (member, le) (rate(consilium_event_loop_lag_seconds_bucket"
                        f"{which}[$__rate_interval])))"
                    ),
                    "{{member}}",
                ),
                unit="s",
            ),
            graph(
                "Room",
                "What is free of the volume with the service's state.",
                (f"consilium_volume_free_bytes{which}", "{{member}}"),
                unit="bytes",
            ),
            number(
                "Certificate ends in",
                "The time left to the certificate that ends first.",
                f"min by (member) (consilium_certificate_expiry_timestamp_seconds{which} - time())",
                "{{member}}",
                unit="s",
            ),
        ),
    )
