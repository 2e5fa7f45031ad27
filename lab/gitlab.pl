#!/usr/bin/perl
# Stand-in for GitLab: answers for one runner token, and serves git by git's own HTTP backend.
# Arguments: the port, the directory of the repositories, the file with the token.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $repositories, $token_file) = @ARGV;
my $git_core = `git --exec-path`;
chomp $git_core;
$SIG{CHLD} = 'IGNORE';
$SIG{TERM} = sub { exit 0 };

my $server = IO::Socket::INET->new(
    LocalPort => $port, Listen => 64, ReuseAddr => 1, Proto => 'tcp'
) or die "cannot listen on $port: $!";
while (1) {
    my $client = $server->accept or next;
    my $pid = fork // die "cannot fork: $!";
    if ($pid == 0) {
        $SIG{CHLD} = 'DEFAULT';
        serve($client);
        exit 0;
    }
    close $client;
}

sub reply {
    my ($client, $status, $body) = @_;
    # Without the content type the real runner takes any answer for an error.
    print $client "HTTP/1.1 $status\r\nConnection: close\r\nContent-Type: application/json\r\n",
        'Content-Length: ', length $body, "\r\n\r\n$body";
}

sub serve {
    my ($client) = @_;
    alarm 120;
    my ($method, $target) = (<$client> // '') =~ m{^(\S+) (\S+) HTTP/} or return;
    my %header;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?\n/;
        $header{lc $1} = $2 if $line =~ /^([^:]+):\s*(.*?)\r?\n/;
    }
    my $body = '';
    read $client, $body, $header{'content-length'} if $header{'content-length'};
    my ($path, $query) = split /\?/, $target, 2;
    print STDERR "$method $path\n";
    if ($method eq 'POST' && $path eq '/api/v4/runners/verify') {
        return known($body)
            ? reply($client, '200 OK', '{"id":1,"token_expires_at":null}')
            : reply($client, '403 Forbidden', '{"message":"403 Forbidden"}');
    }
    return reply($client, '204 No Content', '')
        if $method eq 'DELETE' && $path eq '/api/v4/runners/managers';
    return git($client, $method, $path, $query // '', $body, \%header) if $path =~ /\.git\//;
    reply($client, '404 Not Found', '{"message":"404 Not Found"}');
}

sub known {
    my ($body) = @_;
    open my $file, '<', $token_file or die "cannot read $token_file: $!";
    my $token = <$file>;
    return $body =~ /"token"\s*:\s*"([^"]*)"/ && $1 eq $token;
}

sub git {
    my ($client, $method, $path, $query, $body, $header) = @_;
    local %ENV = (
        PATH => $ENV{PATH},
        GIT_PROJECT_ROOT => $repositories,
        GIT_HTTP_EXPORT_ALL => 1,
        REQUEST_METHOD => $method,
        PATH_INFO => $path,
        QUERY_STRING => $query,
        CONTENT_TYPE => $header->{'content-type'} // '',
        CONTENT_LENGTH => length $body,
        HTTP_CONTENT_ENCODING => $header->{'content-encoding'} // '',
        GIT_PROTOCOL => $header->{'git-protocol'} // '',
    );
    # Through a file: a pipe both ways would block on a big answer.
    open my $input, '+>', undef or die "cannot make a file: $!";
    print $input $body;
    seek $input, 0, 0;
    open STDIN, '<&', $input or die "cannot set the input: $!";
    open my $backend, '-|', "$git_core/git-http-backend" or die "cannot run git: $!";
    my ($status, @kept) = ('200 OK');
    while (defined(my $line = <$backend>)) {
        last if $line =~ /^\r?\n/;
        if ($line =~ /^Status:\s*(.*?)\r?\n/) { $status = $1 } else { push @kept, $line }
    }
    print $client "HTTP/1.1 $status\r\nConnection: close\r\n", @kept, "\r\n";
    local $/ = \65536;
    print $client $_ while <$backend>;
}
