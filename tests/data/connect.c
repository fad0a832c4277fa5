/* connect HOST PORT: resolves with the C library it is linked to, and says `ok`, or the number of the error. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    if (count != 3)
        return 2;
    int failed = getaddrinfo(words[1], words[2], &wanted, &found);
    if (failed) {
        printf("unresolved: %s\n", gai_strerror(failed));
        return 1;
    }
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(stream, found->ai_addr, found->ai_addrlen) == 0)
        puts("ok");
    else
        printf("%d\n", errno);
    return 0;
}
